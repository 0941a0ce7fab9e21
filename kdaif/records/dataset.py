"""A data set as it is listed: one file, addressed by its hash."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kdaif.records.model_signatures import ModelSignature


class DatasetState(StrEnum):
    """UPLOADING until every byte is there and the hash agrees, then READY for good."""

    UPLOADING = "UPLOADING"
    READY = "READY"


class DatasetKind(StrEnum):
    """A table of rows, or a model that jobs read."""

    TABLE = "TABLE"
    ONNX = "ONNX"
    TRANSFORMER = "TRANSFORMER"
    SAFETENSORS = "SAFETENSORS"


@dataclass(frozen=True)
class Column:
    """Name and Arrow type of one column."""

    name: str
    arrow_type: str


@dataclass(frozen=True)
class Dataset:
    """``id`` is the first 32 hexadecimal digits of ``sha256``.

    ``uri`` and ``etag`` are empty for an upload; else they say where the bytes are and what pins them there. ``model``
    is what a model's file said of itself when it was looked into; None of a table.
    """

    tenant: str
    id: str
    display_name: str
    state: DatasetState
    sha256: str
    size_bytes: int
    created_at_ms: int
    row_count: int = 0
    columns: tuple[Column, ...] = ()
    kind: DatasetKind = DatasetKind.TABLE
    uri: str = ""
    etag: str = ""
    model: ModelSignature | None = None
