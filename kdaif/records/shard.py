"""Some rows of a pool that are scored as a job of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a job's pool, in one scoring.

    ``number`` counts from 1 and ``total`` is how many there are. ``along`` and ``rows`` are the SHA-256 of two files in
    the blob store: what the rows are scored along, and the rows themselves. Both together name the scores.
    """

    job: str
    number: int
    total: int
    start: int
    stop: int
    along: str
    rows: str

    @property
    def end_of_id(self) -> str:
        """What stands behind the job's id in the id of the shard: the same shard of the same scoring has the same."""
        return f"-{self.along[:16]}-{self.number:04d}"

    def __str__(self) -> str:
        return f"shard {self.number} of {self.total}, rows {self.start:,} to {self.stop - 1:,}"
