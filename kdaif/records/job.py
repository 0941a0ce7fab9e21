"""A job, its states and its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kdaif.errors import FailureReason
from kdaif.records.preflight import Estimate, PreflightReport
from kdaif.records.report import JobResult
from kdaif.records.spec import DistillationSpec


class JobState(StrEnum):
    """The life of a job. `docs/architecture.md` draws it."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DEAD = "DEAD"


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD})

# What the queue may do. A terminal job moves only by a person's retry, never to another terminal state.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.DEAD, JobState.CANCELLING}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.DEAD: frozenset({JobState.QUEUED}),
}


@dataclass(frozen=True)
class Progress:
    """How far an attempt is. ``fraction`` is of the whole job, 0 to 1."""

    stage: str
    fraction: float
    arm: str = ""
    round: int = 0
    rounds: int = 0
    message: str = ""


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended without a student."""

    reason: FailureReason
    message: str
    retryable: bool
    attempt: int = 0


@dataclass(frozen=True)
class Job:
    """A job as the queue keeps it. Times are Unix milliseconds by the clock of Redis."""

    tenant: str
    id: str
    state: JobState
    spec: DistillationSpec
    preflight: PreflightReport
    created_at_ms: int
    attempt: int = 0
    max_attempts: int = 3
    display_name: str = ""
    progress: Progress | None = None
    failure: Failure | None = None
    result: JobResult | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    estimate: Estimate | None = None


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job. ``sequence`` counts 1, 2, 3, ... without gaps."""

    sequence: int
    time_ms: int
    state: JobState
    attempt: int
    kind: str
    progress: Progress | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    failure: Failure | None = None
