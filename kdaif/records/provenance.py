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
        teacher_trust: slope, 0 to 1, by which the teacher's own logit of a pseudo-label adds to `z_agreement`: what its
            confidence proved to be worth. None where no scout judged it, or an old job did not tell.
        least_sureness: the teacher's logit, of -4 to 4, that adds nothing. None as well where logits are standardised.
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
    teacher_trust: float | None = None
    least_sureness: float | None = None

    def metadata(self) -> dict[bytes, bytes]:
        """For the schema of a Parquet file."""
        return {_KEY: _ADAPTER.dump_json(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> Provenance | None:
        """Back from the schema of a Parquet file; None where an old job wrote none."""
        found = (metadata or {}).get(_KEY)
        return None if found is None else _ADAPTER.validate_json(found)


_ADAPTER = TypeAdapter(Provenance)
