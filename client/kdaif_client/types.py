"""What the SDK takes and gives: frozen dataclasses. Those of a job's spec are in ``kdaif_client.spec``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kdaif_client.monitoring_types import Alarm, GroupAccuracy, GroupWeight, Scorecard
from kdaif_client.spec import Spec

__all__ = [
    "ArmResult",
    "BundleFile",
    "Column",
    "Dataset",
    "DatasetKind",
    "DatasetState",
    "Estimate",
    "Failure",
    "Finding",
    "JobEvent",
    "JobInfo",
    "JobResult",
    "JobState",
    "Preflight",
    "Progress",
    "StudentInfo",
]


_CHIEF_METRICS = ("validation_accuracy", "validation_loss", "train_loss", "reliability")


class DatasetState(StrEnum):
    """READY once all bytes are there and checked."""

    UNSPECIFIED = "UNSPECIFIED"
    UPLOADING = "UPLOADING"
    READY = "READY"


class DatasetKind(StrEnum):
    """A table of rows, or a model that jobs read."""

    UNSPECIFIED = "UNSPECIFIED"
    TABLE = "TABLE"
    ONNX = "ONNX"
    TRANSFORMER = "TRANSFORMER"
    SAFETENSORS = "SAFETENSORS"


class JobState(StrEnum):
    """The life of a job: QUEUED, RUNNING (CANCELLING, AWAITING_REVIEW), then one of the four terminal states."""

    UNSPECIFIED = "UNSPECIFIED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    AWAITING_REVIEW = "AWAITING_REVIEW"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DEAD = "DEAD"

    @property
    def is_terminal(self) -> bool:
        """True when the job will not move again by itself."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DEAD)


@dataclass(frozen=True)
class Column:
    """Name and Arrow type of one column."""

    name: str
    arrow_type: str


@dataclass(frozen=True)
class Dataset:
    """One file: a table, or a model that jobs read.

    ``name`` is ``tenants/{tenant}/datasets/{id}``, the id being the head of the hash. ``uri`` says where the bytes are
    when they were not uploaded.
    """

    name: str
    display_name: str
    state: DatasetState
    sha256: str
    size_bytes: int
    row_count: int
    columns: tuple[Column, ...]
    create_time: datetime | None
    kind: DatasetKind = DatasetKind.TABLE
    uri: str = ""


@dataclass(frozen=True)
class Progress:
    """How far an attempt is; ``fraction`` is of the whole job, 0 to 1."""

    stage: str
    arm: str
    round: int
    rounds: int
    fraction: float
    message: str

    def __str__(self) -> str:
        count = f"round {self.round}/{self.rounds}" if self.rounds else ""
        arm = "" if self.arm == self.stage else self.arm  # the canary's run is a stage and an arm
        return " · ".join(part for part in (self.stage, arm, count, self.message) if part)


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended without a student, or awaits a review.

    ``reason`` is for programs, for example ``"OUT_OF_MEMORY"``; ``log_tail`` is the end of the attempt's log.
    """

    reason: str
    message: str
    retryable: bool
    attempt: int
    log_tail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that preflight saw in the data: dropped rows, overlaps, classes without a label."""

    severity: str
    code: str
    field: str
    message: str
    row_count: int
    ids: tuple[str, ...]

    def __str__(self) -> str:
        more = ", ..." if self.row_count > len(self.ids) else ""
        rows = f" [{self.row_count} rows: {', '.join(self.ids)}{more}]" if self.ids else ""
        return f"{self.severity} {self.code} at {self.field}: {self.message}{rows}"


@dataclass(frozen=True)
class ArmResult:
    """One way of training the student, on the same rows, steps and seeds as the others.

    ``accuracy_minus_uniform`` and its paired ``p_value`` are ``None`` for the uniform arm itself. ``ece`` is the
    expected calibration error before any temperature.
    """

    arm: str
    accuracy: float
    macro_f1: float
    accuracy_per_seed: tuple[float, ...]
    accuracy_minus_uniform: float | None
    p_value: float | None
    size_kb: float | None
    ms_per_row: float | None
    ece: float | None = None


@dataclass(frozen=True)
class JobResult:
    """What a job found: its student's name, the arms, and one plain sentence on whether weighting helped.

    ``external_arms`` and ``external_verdict`` say the same of the external rows; empty where none were given.
    ``shipped_arm`` is the arm whose student is in the bundle. ``canary`` says what the canary check found, and
    ``canary_auroc`` how well low weights found planted wrong labels; a coin reaches 0.5. ``alarms`` are what a person
    should look at before trusting the student.
    """

    student: str
    arms: tuple[ArmResult, ...]
    verdict: str
    seconds: float
    external_arms: tuple[ArmResult, ...] = ()
    external_verdict: str = ""
    shipped_arm: str = ""
    canary: str = ""
    canary_auroc: float | None = None
    canary_stderr: float | None = None
    alarms: tuple[Alarm, ...] = ()
    groups: tuple[GroupAccuracy, ...] = ()
    group_weights: tuple[GroupWeight, ...] = ()
    scorecard: Scorecard | None = None


@dataclass(frozen=True)
class Estimate:
    """What a job is expected to cost: of the order of, not a promise. ``memory_bytes`` is the worker's most."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Preflight:
    """What the server finds in the data of a job before it queues it. ``estimate`` is ``None`` where it is refused."""

    findings: tuple[Finding, ...]
    estimate: Estimate | None

    @property
    def refuses(self) -> bool:
        """Whether a job of this spec would be refused."""
        return any(finding.severity == "ERROR" for finding in self.findings)


@dataclass(frozen=True)
class JobInfo:
    """A job as the server told it at one moment. ``name`` is ``tenants/{tenant}/distillationJobs/{id}``.

    ``worker`` is the one that claimed it last; by ``deadline_time`` it must be over.
    """

    name: str
    display_name: str
    state: JobState
    spec: Spec
    attempt: int
    max_attempts: int
    progress: Progress | None
    failure: Failure | None
    result: JobResult | None
    preflight: tuple[Finding, ...]
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    estimate: Estimate | None = None
    worker: str = ""
    deadline_time: datetime | None = None


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job. ``sequence`` counts 1, 2, 3, ... without gaps.

    Printing it gives one line with the chief figures of a round; ``metrics`` has all of them.
    """

    sequence: int
    time: datetime | None
    state: JobState
    attempt: int
    kind: str
    progress: Progress | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None

    def __str__(self) -> str:
        parts = [f"{self.time.astimezone():%H:%M:%S}" if self.time else "--:--:--", f"#{self.sequence}", self.kind]
        if self.kind in ("claimed", "requeued"):
            parts.append(f"attempt {self.attempt}")
        if self.progress is not None:
            parts.append(f"{self.progress} ({self.progress.fraction:.0%})")
        chief = [name for name in _CHIEF_METRICS if name in self.metrics] or sorted(self.metrics)[: len(_CHIEF_METRICS)]
        parts.extend(f"{name}={self.metrics[name]:.4g}" for name in chief)
        if self.failure is not None:
            parts.append(f"{self.failure.reason}: {self.failure.message}")
        if self.kind == "finished":
            parts.append(str(self.state))
        return "  ".join(parts)


@dataclass(frozen=True)
class BundleFile:
    """One file of a student's bundle."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class BundleSignature:
    """A server's word that it published a student: by which key, and the signature of its name and manifest."""

    key_id: str
    algorithm: str
    signature: bytes


@dataclass(frozen=True)
class StudentInfo:
    """The bundle of one succeeded job as it is listed; ``shipped_arm`` is the arm whose student it is.

    ``signature`` is there where one student was asked for, and not in lists.
    """

    name: str
    job: str
    files: tuple[BundleFile, ...]
    class_names: tuple[str, ...]
    arms: tuple[ArmResult, ...]
    create_time: datetime | None
    shipped_arm: str = ""
    signature: BundleSignature | None = None
