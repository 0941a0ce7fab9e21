"""The explained samples of a job: one immutable Parquet file, sorted by id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa
from pydantic import TypeAdapter

Chosen: TypeAlias = Literal["asked", "overridden", "harmful", "helpful"]
_KEY = b"kdaif.evidence"


@dataclass(frozen=True)
class EvidenceSearch:
    """What explaining cost, and how far it came.

    Attributes:
        samples: that were explained.
        validation_rows: rows of V.
        searched_rows: among which neighbours were looked for, of ``pool_rows`` of L and U.
        pool_rows: rows of L and U.
        seconds: that it took.
        budget_s: that it might take.
        damping: of the solve; 0 where there was none, since soft targets had a head of their own.
    """

    samples: int
    validation_rows: int
    searched_rows: int
    pool_rows: int
    seconds: float
    budget_s: float
    damping: float

    def metadata(self) -> dict[bytes, bytes]:
        """For the schema of the file."""
        return {_KEY: _ADAPTER.dump_json(self)}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes]) -> EvidenceSearch:
        """The inverse. Raises KeyError for another file."""
        return _ADAPTER.validate_json(metadata[_KEY])


def evidence_schema(id_type: pa.DataType) -> pa.Schema:
    """Columns of the file.

    ``mean`` is that of the pairs over all of V, null where the time ran out before them; a negative ``loss_change``
    helps. Of a neighbour, ``distance`` is 0 where the student's last layer is given the same, and 1 is usual.

    Args:
        id_type: type of the ids, ``pa.string()`` or ``pa.int64()``.
    """
    pair = pa.struct([("id", pa.string()), ("label", pa.string()), ("loss_change", pa.float64())])
    neighbour = pa.struct(
        [("dataset", pa.string()), ("id", pa.string()), ("label", pa.string()), ("distance", pa.float64())]
    )
    return pa.schema(
        [
            ("id", id_type),
            ("chosen", pa.string()),
            ("mean", pa.float64()),
            ("helped", pa.list_(pair)),
            ("harmed", pa.list_(pair)),
            ("neighbours", pa.list_(neighbour)),
        ]
    )


_ADAPTER = TypeAdapter(EvidenceSearch)
