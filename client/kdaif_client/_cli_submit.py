"""The short forms of the command line, such as ``mlp:64,32``, into a spec."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdaif_client._client import Client
from kdaif_client._convert_spec import spec_from_json
from kdaif_client.architectures import Architecture, Cnn, Mlp
from kdaif_client.errors import InvalidArgument, NotFound
from kdaif_client.spec import Spec, Training
from kdaif_client.teachers import ColumnTeacher, PlantedNoise, Teacher, TrainedTeacher
from kdaif_client.types import Dataset, DatasetState

STUDENT_FORMS = "mlp, mlp:64,32, cnn or cnn:16,32"
TEACHER_FORMS = "train, train:mlp:256,128, train:cnn:32,64, column:logits:cat,dog or column:probabilities:cat,dog"
NOISE_FORMS = "class_swap:0.2 or symmetric:0.2"


def read_spec(file: Path) -> Spec:
    """A spec in the JSON form of kdaif.v1.DistillationSpec. Data sets may be left out, for options to name them."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except ValueError as error:
        raise InvalidArgument(f"{file} is not JSON: {error}") from None
    return spec_from_json(document)


def overridden(
    spec: Spec,
    *,
    datasets: dict[str, Dataset | str | None],
    student: str | None,
    teacher: str | None,
    planted_noise: str | None,
    training: dict[str, Any],
    others: dict[str, Any],
) -> Spec:
    """The spec with every option that was given in place of what it said."""
    given: dict[str, Any] = {role: dataset for role, dataset in datasets.items() if dataset is not None}
    given |= {name: value for name, value in others.items() if value is not None}
    if student is not None:
        given["student"] = architecture(student, "--student")
    if teacher is not None:
        given["teacher"] = teacher_of(teacher)
    if planted_noise is not None:
        given["teacher"] = replace(
            given.get("teacher") or spec.teacher or TrainedTeacher(), planted_noise=noise(planted_noise)
        )
    numbers = {name: value for name, value in training.items() if value is not None}
    if numbers:
        given["training"] = replace(spec.training or Training(), **numbers)
    return replace(spec, **given)


def architecture(text: str, option: str) -> Architecture:
    """``mlp``, ``mlp:64,32``, ``cnn`` or ``cnn:16,32``."""
    kind, _, sizes = text.partition(":")
    try:
        widths = tuple(int(size) for size in sizes.split(",")) if sizes else None
    except ValueError:
        raise InvalidArgument.of(option, f"is {text!r}; write {STUDENT_FORMS}") from None
    if kind == "mlp":
        return Mlp(hidden_sizes=widths)
    if kind == "cnn":
        return Cnn(channels=widths)
    raise InvalidArgument.of(option, f"is {text!r}; write {STUDENT_FORMS}")


def teacher_of(text: str) -> Teacher:
    """``train``, ``train:ARCHITECTURE``, or ``column:KIND:CLASSES``."""
    kind, _, rest = text.partition(":")
    if kind == "train":
        return TrainedTeacher(architecture=architecture(rest, "--teacher") if rest else None)
    outputs, _, names = rest.partition(":")
    if kind == "column" and outputs in ("logits", "probabilities") and names:
        return ColumnTeacher(outputs=outputs, class_names=tuple(names.split(",")))  # type: ignore[arg-type]
    why = " (the class of each position is never guessed)" if kind == "column" and not names else ""
    raise InvalidArgument.of("--teacher", f"is {text!r}; write {TEACHER_FORMS}{why}")


def noise(text: str) -> PlantedNoise:
    """``class_swap:0.2`` or ``symmetric:0.2``."""
    kind, _, share = text.partition(":")
    try:
        return PlantedNoise(kind=kind, share=float(share))  # type: ignore[arg-type]
    except ValueError:
        raise InvalidArgument.of("--planted-noise", f"is {text!r}; write {NOISE_FORMS}") from None


def find_dataset(client: Client, given: str, note: Callable[[str], None], *, progress: bool) -> Dataset:
    """The data set for a resource name, an id, a file of rows (which is uploaded) or a display name."""
    if given.startswith("tenants/"):
        return client.get_dataset(given)
    path = Path(given)
    if path.is_file():
        return client.upload_dataset(path, name=path.stem, progress=progress)
    if len(given) == 32 and all(digit in "0123456789abcdef" for digit in given):
        return client.get_dataset(given)
    found = [each for each in client.list_datasets() if each.display_name == given and each.state is DatasetState.READY]
    if not found:
        raise NotFound(
            f"{given!r} is neither a file here nor a data set there. `kdaif datasets` lists the data sets, "
            "`kdaif upload FILE` makes one."
        )
    newest = max(found, key=lambda each: each.create_time.timestamp() if each.create_time else 0.0)
    if len(found) > 1:
        note(f"{len(found)} data sets are called {given!r}; taking the newest, {newest.name}.")
    return newest
