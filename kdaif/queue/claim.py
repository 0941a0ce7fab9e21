"""What a worker holds while it works on a job."""

from __future__ import annotations

from dataclasses import dataclass

from kdaif.records import Job


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until the lease runs out. ``token`` is the attempt, and fences off older ones.

    ``nonce`` tells apart two claims of one number, where a failover of Redis has lost the first.
    ``deadline_in_s`` is what the job had left when it was claimed, by the clock of Redis: a worker's may differ.
    """

    job: Job
    token: int
    lease_expires_ms: int
    deadline_in_s: float | None = None
    nonce: str = ""
