"""What the store knows of the kinds of data sets: how to look into a file, and what its local copy is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from kdaif.errors import AlreadyExistsError, InvalidInputError
from kdaif.records import Column, Dataset, DatasetKind
from kdaif.store.safetensors_header import inspect_safetensors

Inspect = Callable[[Path], tuple[int, tuple[Column, ...]]]
# Raises InvalidInputError when the file is no model of its kind.
InspectModel = Callable[[Path], object]
_SUFFIXES = {
    DatasetKind.TABLE: ".parquet",
    DatasetKind.ONNX: ".onnx",
    DatasetKind.TRANSFORMER: ".tar",
    DatasetKind.SAFETENSORS: ".safetensors",
}


class Inspectors:
    """One way to look into a file for each kind. SAFETENSORS needs none of its own; others may be missing."""

    def __init__(self, table: Inspect, models: Mapping[DatasetKind, InspectModel]) -> None:
        self._table = table
        self._models = {DatasetKind.SAFETENSORS: inspect_safetensors, **models}

    def require(self, kind: DatasetKind) -> None:
        """Raises InvalidInputError for a kind that cannot be looked into."""
        if kind is not DatasetKind.TABLE and kind not in self._models:
            raise InvalidInputError.of("kind", f"is {kind}, which this server cannot look into; upload a table")

    def inspect(self, file: Path, kind: DatasetKind) -> tuple[int, tuple[Column, ...]]:
        """Rows and columns; a model has none. Raises InvalidInputError when the file is not of this kind."""
        if kind is DatasetKind.TABLE:
            return self._table(file)
        self._models[kind](file)
        return 0, ()


def copy_name(dataset: Dataset) -> str:
    """The name of a local copy."""
    return f"{dataset.sha256}{_SUFFIXES[dataset.kind]}"


def require_kind(known: Dataset, kind: DatasetKind) -> None:
    """Raises AlreadyExistsError where the same bytes are a data set of another kind."""
    if known.kind is not kind:
        raise AlreadyExistsError(
            f"these bytes are data set {known.id} already, as {known.kind} and not as {kind}; use that one, or delete "
            "it first"
        )


def require_same(known: Dataset, sha256: str, size_bytes: int) -> None:
    """Raises AlreadyExistsError where the same name stands for other bytes."""
    if (known.sha256, known.size_bytes) != (sha256, size_bytes):
        raise AlreadyExistsError(
            f"data set {known.id} is declared with {known.size_bytes} bytes and hash {known.sha256}, not "
            f"{size_bytes} bytes and hash {sha256}; hash the file again, or delete the data set first"
        )
