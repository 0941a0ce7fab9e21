"""What the store knows of the kinds of data sets: how to look into a file, and what its local copy is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdaif.errors import AlreadyExistsError, InvalidInputError
from kdaif.records import Column, Dataset, DatasetKind, ModelSignature

Inspect = Callable[[Path], tuple[int, tuple[Column, ...]]]
# Raises InvalidInputError when the file is no model of its kind.
InspectModel = Callable[[Path, DatasetKind], ModelSignature]
_SUFFIXES = {
    DatasetKind.TABLE: ".parquet",
    DatasetKind.ONNX: ".onnx",
    DatasetKind.TRANSFORMER: ".tar",
    DatasetKind.SAFETENSORS: ".safetensors",
}


@dataclass(frozen=True)
class Content:
    """What is in a file: rows and columns of a table, or what a model says of itself."""

    row_count: int = 0
    columns: tuple[Column, ...] = ()
    model: ModelSignature | None = None


class Inspectors:
    """How to look into a file of each kind; without ``model``, tables alone are taken."""

    def __init__(self, table: Inspect, model: InspectModel | None) -> None:
        self._table = table
        self._model = model

    def require(self, kind: DatasetKind) -> None:
        """Raises InvalidInputError for a kind that cannot be looked into."""
        if kind is not DatasetKind.TABLE and self._model is None:
            raise InvalidInputError.of("kind", f"is {kind}, which this server cannot look into; upload a table")

    def inspect(self, file: Path, kind: DatasetKind) -> Content:
        """Raises InvalidInputError when the file is not of this kind."""
        if kind is DatasetKind.TABLE:
            return Content(*self._table(file))
        self.require(kind)
        return Content() if self._model is None else Content(model=self._model(file, kind))


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
