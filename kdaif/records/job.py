"""A job, its states and its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kdaif.errors import FailureReason
from kdaif.records.preflight import Estimate, PreflightReport
from kdaif.records.report import JobResult
from kdaif.records.shard import Shard
from kdaif.records.spec import DistillationSpec


class JobState(StrEnum):
    """The life of a job. `docs/architecture.md` draws it."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    AWAITING_REVIEW = "AWAITING_REVIEW"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DEAD = "DEAD"


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD})

# What the queue may do. A terminal job moves only by a person's retry, never to another terminal state. A job is FAILED
# from wherever its deadline finds it.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.QUEUED,
            JobState.DEAD,
            JobState.CANCELLING,
            JobState.AWAITING_REVIEW,
        }
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.AWAITING_REVIEW: frozenset({JobState.QUEUED, JobState.CANCELLED, JobState.FAILED}),
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
    """Why an attempt ended without a student, or awaits a review. ``log_tail`` is the end of its standard error."""

    reason: FailureReason
    message: str
    retryable: bool
    attempt: int = 0
    log_tail: str = ""


@dataclass(frozen=True)
class Job:
    """A job as the queue keeps it. Times are Unix milliseconds by the clock of Redis.

    ``worker`` is the one that claimed it last, and ``deadline_at_ms`` the time by which it must be over. ``origin``
    names the call that it came by, for traces and logs. ``shard`` is what another job cut off for this one to score.
    """

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
    worker: str = ""
    deadline_at_ms: int | None = None
    origin: dict[str, str] = field(default_factory=dict)
    shard: Shard | None = None


@dataclass(frozen=True)
class JobSnapshot:
    """A job as the archive keeps it, with what Redis needs to take it back.

    Of two snapshots of one job, the one with the higher ``version`` is the later. ``request_id`` and ``body_digest``
    make a repeated submission find the job again; ``event_count`` is where its events go on counting, and its next
    attempt counts on from ``attempt_floor`` at least.
    """

    job: Job
    version: int
    request_id: str
    body_digest: str
    event_count: int = 0
    attempt_floor: int = 0


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
