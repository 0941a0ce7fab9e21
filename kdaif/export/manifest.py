"""The manifest of a bundle: what is in the folder, and the hash by which anyone can check it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.export.interface import OUTPUT_NAMES, TOKENIZER_NAME, input_range, input_spec, output_shapes

MANIFEST_NAME = "manifest.json"
FORMAT = "kdaif-bundle"
FORMAT_VERSION = 1
LICENCE = (
    "The files are made from the data sets and the teacher that the job names, by sha256 under datasets. What these "
    "were licensed for holds for the student: kdaif neither knows nor adds terms."
)


def write_manifest(
    folder: Path,
    *,
    job: str,
    attempt: int,
    class_names: Sequence[str],
    signature: InputSignature,
    n_features: int,
    dataset_sha256: Mapping[str, str],
    created: Mapping[str, object],
    temperature: float = 1.0,
    shipped_arm: str = "",
    scaled: bool = False,
    value_ranges: Mapping[str, Sequence[float]] | None = None,
    oldest_onnxruntime: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Writes ``manifest.json`` over every other file in the folder; write it last.

    The same arguments and files give the same bytes: keys are sorted and nothing is read from the clock.

    Args:
        folder: the bundle.
        job: full resource name of the job.
        attempt: of the job, from 1.
        class_names: in the order of the logits.
        signature: of the student's input.
        n_features: width of the output "features".
        dataset_sha256: hexadecimal sha256 of each data set by its role, such as "labeled".
        created: when and by what, as the caller tells it: JSON values.
        temperature: by which the logits are divided before the softmax of "probabilities".
        shipped_arm: the arm whose student this is, such as "influence".
        scaled: whether pictures of other sizes were scaled in training.
        value_ranges: smallest and largest value of each column of numbers among the rows that the student was trained
            on, as of `kdaif.export.value_ranges`.
        oldest_onnxruntime: oldest release that is known to read it, by file.
        versions: of the packages that made the files.

    Raises:
        InvalidInputError: the folder holds something that is no plain file, such as a link, or ``created`` is not JSON.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "job": job,
        "attempt": attempt,
        "class_names": list(class_names),
        "input": {**input_spec(signature, scaled=scaled), **input_range(signature, value_ranges or {})},
        "outputs": list(OUTPUT_NAMES),
        "output_shapes": output_shapes(len(class_names), n_features),
        "temperature": temperature,
        "shipped_arm": shipped_arm,
        "datasets": {role: {"sha256": sha256} for role, sha256 in dataset_sha256.items()},
        "created": dict(created),
        "oldest_onnxruntime": dict(oldest_onnxruntime or {}),
        "versions": dict(versions or {}),
        "licence": LICENCE,
        "files": {name: _describe(file) for name, file in _files(folder).items()},
    }
    try:
        text = json.dumps(manifest, allow_nan=False, ensure_ascii=False, indent=2, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidInputError.of("created", f"JSON values only: {error}") from error
    # Under another name first, so that a reader never sees half of it.
    half = folder / f".{MANIFEST_NAME}.half"
    half.write_text(text + "\n", encoding="utf-8")
    half.replace(folder / MANIFEST_NAME)


def write_tokenizer(folder: Path, signature: InputSignature) -> None:
    """Writes ``tokenizer.json`` for a student of text, as the ids that it learned from were made; else nothing."""
    if signature.kind == "text":
        (folder / TOKENIZER_NAME).write_text(signature.tokenizer, encoding="utf-8")


def _files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InvalidInputError.of("folder", f"{name!r} is not a plain file; a bundle holds only plain files")
        if path.is_file() and name != MANIFEST_NAME:
            files[name] = path
    return files


def _describe(file: Path) -> dict[str, object]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return {"sha256": digest.hexdigest(), "size_bytes": file.stat().st_size}
