"""From the options of a command to a spec whose data sets and models are on the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdaif_client._cli_forms import architecture, noise, teacher_of
from kdaif_client._client import Client
from kdaif_client._convert_spec import spec_from_json
from kdaif_client._models import is_model, kind_by_name
from kdaif_client.errors import InvalidArgument, NotFound
from kdaif_client.spec import Inputs, Scheduling, Spec, Training
from kdaif_client.teachers import OnnxTeacher, TrainedTeacher, TransformerTeacher
from kdaif_client.types import Dataset, DatasetKind, DatasetState

_ROLES = ("labeled", "unlabeled", "validation", "test", "external")


@dataclass(frozen=True)
class Given:
    """What stood on the command line; ``None`` where an option was left out.

    Attributes:
        spec: file with a whole spec, which everything else goes over.
        datasets: file, name or id by role.
        training: fields of ``Training``.
        scheduling: fields of ``Scheduling``, but for the labels.
        others: fields of ``Spec`` itself.
    """

    spec: Path | None = None
    datasets: Mapping[str, str | None] = field(default_factory=dict)
    student: str | None = None
    teacher: str | None = None
    planted_noise: str | None = None
    categorical: str | None = None
    nullable: str | None = None
    worker_labels: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    scheduling: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)


def given_of(options: Mapping[str, Any]) -> Given:
    """What the options of ``kdaif submit`` and ``kdaif check`` say, by the names in ``_cli_options``."""
    return Given(
        spec=options["spec"],
        datasets={role: options[role] for role in _ROLES},
        student=options["student"],
        teacher=options["teacher"],
        planted_noise=options["planted_noise"],
        categorical=options["categorical"],
        nullable=options["nullable"],
        training={name: options[name] for name in ("rounds", "seed", "seeds")},
        worker_labels=options["worker_labels"],
        scheduling={name: options[name] for name in ("priority", "gpus", "deadline_s")},
        others={name: options[name] for name in ("device", "max_runtime_s")},
    )


def spec_of(client: Client, given: Given, note: Callable[[str], None], *, command: str, progress: bool) -> Spec:
    """The whole spec. Short forms are read before anything is uploaded, so that a slip costs nothing."""
    base = read_spec(given.spec) if given.spec is not None else Spec(labeled="", unlabeled="")
    _require_data(
        given.datasets.get("labeled") or base.labeled, given.datasets.get("unlabeled") or base.unlabeled, command
    )
    changed = overridden(base, given)
    found: dict[str, Any] = {
        role: find_dataset(client, text, note, progress=progress) for role, text in given.datasets.items() if text
    }
    teacher = changed.teacher
    if given.teacher is not None and isinstance(teacher, OnnxTeacher | TransformerTeacher):
        model = find_dataset(client, str(teacher.model), note, progress=progress, is_here=is_model)
        changed = replace(changed, teacher=replace(teacher, model=model))
    return replace(changed, **found)


def read_spec(file: Path) -> Spec:
    """A spec in the JSON form of kdaif.v1.DistillationSpec. Data sets may be left out, for options to name them."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except ValueError as error:
        raise InvalidArgument(f"{file} is not JSON: {error}") from None
    return spec_from_json(document)


def overridden(spec: Spec, given: Given) -> Spec:
    """The spec with every option that was given, but for the data sets, in place of what it said."""
    changes = {name: value for name, value in given.others.items() if value is not None}
    if given.student is not None:
        changes["student"] = architecture(given.student, "--student")
    if given.teacher is not None:
        changes["teacher"] = teacher_of(given.teacher)
    if given.planted_noise is not None:
        teacher = changes.get("teacher") or spec.teacher or TrainedTeacher()
        changes["teacher"] = replace(teacher, planted_noise=noise(given.planted_noise))
    columns = {"categorical_columns": given.categorical, "nullable_columns": given.nullable}
    listed: dict[str, Any] = {name: tuple(text.split(",")) for name, text in columns.items() if text}
    if listed:
        changes["inputs"] = replace(spec.inputs or Inputs(), **listed)
    numbers = {name: value for name, value in given.training.items() if value is not None}
    if numbers:
        changes["training"] = replace(spec.training or Training(), **numbers)
    needs = {name: value for name, value in given.scheduling.items() if value is not None}
    if given.worker_labels:
        needs["worker_labels"] = tuple(given.worker_labels.split(","))
    if needs:
        changes["scheduling"] = replace(spec.scheduling or Scheduling(), **needs)
    return replace(spec, **changes)


def find_dataset(
    client: Client,
    given: str,
    note: Callable[[str], None],
    *,
    progress: bool,
    is_here: Callable[[Path], bool] = Path.is_file,
) -> Dataset:
    """The data set for a resource name, an id, a path of this machine (which is uploaded), or a display name.

    ``is_here`` tells of a path whether it is what is meant: a folder that is called as the data set is, is not.
    """
    if given.startswith("tenants/"):
        return client.get_dataset(given)
    path = Path(given)
    if is_here(path):
        return upload_path(client, path, path.stem, progress=progress)
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


def upload_path(client: Client, path: Path, name: str, *, progress: bool) -> Dataset:
    """An ``.onnx``, ``.safetensors`` or ``.tar`` file or a folder as a model, every other file as a table."""
    if path.is_dir() or kind_by_name(path.name) is not DatasetKind.TABLE:
        return client.upload_model(path, name, progress=progress)
    return client.upload_dataset(path, name=name, progress=progress)


def _require_data(labeled: object, unlabeled: object, command: str) -> None:
    missing = [option for option, value in (("--labeled", labeled), ("--unlabeled", unlabeled)) if not value]
    if missing:
        raise InvalidArgument(
            f"{' and '.join(missing)} missing. For example: "
            f"kdaif {command} --labeled labeled.parquet --unlabeled pool.parquet"
        )
