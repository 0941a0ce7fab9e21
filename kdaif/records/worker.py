"""Workers as the queue knows them: what they offer, and what an operator wants of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kdaif.records.spec import Scheduling


class WorkerMode(StrEnum):
    """ACTIVE takes jobs, PAUSED takes none until it is resumed, DRAINING ends after the job at hand."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DRAINING = "DRAINING"


@dataclass(frozen=True)
class WorkerOffer:
    """What a worker brings: jobs that need more GPUs, or a label that it lacks, go to others."""

    name: str
    gpus: int = 0
    labels: frozenset[str] = frozenset()

    def suits(self, scheduling: Scheduling) -> bool:
        """Whether the worker may run a job of such needs."""
        return scheduling.gpus <= self.gpus and self.labels.issuperset(scheduling.worker_labels)


@dataclass(frozen=True)
class Worker:
    """A worker that has announced itself. ``tenant`` and ``job_id`` are of the job at hand, empty when idle.

    ``note`` is what an operator should know, such as that everything dies on it.
    ``silent_at_ms`` is when its last beat counts no more, in Unix milliseconds by the clock of Redis; ``is_present``
    says whether that is still to come.
    """

    offer: WorkerOffer
    mode: WorkerMode
    is_present: bool
    silent_at_ms: int
    tenant: str = ""
    job_id: str = ""
    note: str = ""
