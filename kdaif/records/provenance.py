"""What made the weights of one round, kept in the metadata of their Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

_KEY = b"kdaif.provenance"


@dataclass(frozen=True)
class Provenance:
    """Where each weight of a shard comes from.

    Attributes:
        job: id.
        attempt: that scored.
        round: whose training used the weights, from 1.
        seed: of the arm.
        solver: of the inverse-Hessian-vector product.
        damping: d of that solve.
        blocks: of the score set.
        reliability: rank correlation of the influences of two halves of the score set.
        version: of kdaif.
    """

    job: str
    attempt: int
    round: int
    seed: int
    solver: str
    damping: float | None
    blocks: int
    reliability: float | None
    version: str

    def metadata(self) -> dict[bytes, bytes]:
        """For the schema of a Parquet file."""
        return {_KEY: _ADAPTER.dump_json(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> Provenance | None:
        """Back from the schema of a Parquet file; None where an old job wrote none."""
        found = (metadata or {}).get(_KEY)
        return None if found is None else _ADAPTER.validate_json(found)


_ADAPTER = TypeAdapter(Provenance)
