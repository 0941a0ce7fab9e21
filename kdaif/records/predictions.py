"""What a student says of each test row, so that two students can be compared row by row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_NAMES = b"kdaif.class_names"
_GROUP = "group_"


@dataclass(frozen=True, eq=False)
class RowPredictions:
    """Test rows of one job.

    Attributes:
        rows: uint64 `[N]`, `row_hashes` of the rows' ids.
        labels: int32 `[N]`, positions in ``class_names``.
        predicted: int32 `[N]`, the same.
        class_names: C names.
        groups: object `[N]` of str (None where null) by column name, each of which begins with ``group_``.
    """

    rows: NDArray[np.uint64]
    labels: NDArray[np.int32]
    predicted: NDArray[np.int32]
    class_names: tuple[str, ...]
    groups: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def right(self) -> NDArray[np.bool_]:
        """`[N]`, whether the student is right."""
        return np.asarray(self.predicted == self.labels, dtype=np.bool_)

    def to_parquet(self) -> bytes:
        """One file, its class names in the metadata."""
        columns: dict[str, pa.Array] = {
            "row": pa.array(self.rows, pa.uint64()),
            "label": pa.array(self.labels, pa.int32()),
            "predicted": pa.array(self.predicted, pa.int32()),
        }
        columns |= {name: pa.array(names.tolist(), pa.string()) for name, names in sorted(self.groups.items())}
        table = pa.table(columns).replace_schema_metadata({_NAMES: json.dumps(self.class_names)})
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()

    @classmethod
    def from_parquet(cls, data: bytes) -> RowPredictions:
        """The inverse; ``KeyError``, ``ValueError`` or ``pyarrow.ArrowInvalid`` when it is something else."""
        table = pq.read_table(io.BytesIO(data))
        return cls(
            rows=table.column("row").to_numpy(),
            labels=table.column("label").to_numpy(),
            predicted=table.column("predicted").to_numpy(),
            class_names=tuple(json.loads((table.schema.metadata or {})[_NAMES])),
            groups={
                name: np.array(table.column(name).to_pylist(), dtype=object)
                for name in table.column_names
                if name.startswith(_GROUP)
            },
        )


def row_hashes(ids: Iterable[Any]) -> NDArray[np.uint64]:
    """uint64 `[N]`: equal ids, whether text or number, have equal hashes, in every job."""
    digests = (blake2b(str(each).encode(), digest_size=8).digest() for each in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
