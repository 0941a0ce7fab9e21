"""What a run found."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.history import JobHistory
from tests.chaos.invariants import Invariant, Violation
from tests.chaos.plan import Plan

_MEMORY_LEFT_BYTES = 1 << 20


@dataclass(frozen=True)
class Restart:
    """In leases: from the expiry of a lease until the job is back in line, and from there until a worker is free."""

    back_in_line: float
    waited: float


@dataclass(frozen=True)
class Outcome:
    """What a run found. Times are in seconds, memory in bytes."""

    plan: Plan
    seconds: float
    jobs: int
    real_jobs: int
    sharded_jobs: int
    shards_taken: int
    shards_tried_again: int
    states: dict[str, int]
    attempts: int
    uploads: int
    faults: dict[str, int]
    missed_faults: int
    answers_lost_of_queued_jobs: int
    violations: list[Violation]
    histories: dict[str, JobHistory]
    missing_uploads: list[str]
    left_processes: list[str]
    left_keys: list[str]
    left_shards: list[str]
    not_restored: list[str]
    broken: list[str]
    restarts_in_leases: list[float]
    restarts_under_faults: list[Restart]
    memory_before: int
    memory_after: int
    memory_emptied: int
    starts: dict[str, int]
    disk: str

    def count(self, invariant: Invariant) -> int:
        return sum(violation.invariant is invariant for violation in self.violations)

    @property
    def passed(self) -> bool:
        found = (
            self.violations,
            self.missing_uploads,
            self.left_processes,
            self.left_keys,
            self.left_shards,
            self.not_restored,
            self.broken,
        )
        return not any(found) and self.memory_is_back and max(self.restarts_in_leases, default=0.0) <= 1.0

    @property
    def memory_is_back(self) -> bool:
        """Whether the deleted jobs left nothing worth mentioning in Redis."""
        return self.memory_emptied - self.memory_before <= _MEMORY_LEFT_BYTES


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
