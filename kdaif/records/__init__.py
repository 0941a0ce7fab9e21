"""Values that cross rooms and processes: the spec, the job and its transitions, tables and manifests. No I/O."""

from kdaif.records.dataset import Column, Dataset, DatasetState
from kdaif.records.job import (
    TERMINAL_STATES,
    TRANSITIONS,
    Failure,
    Job,
    JobEvent,
    JobState,
    Progress,
)
from kdaif.records.manifest import AttemptManifest, StoredFile, WeightsShard
from kdaif.records.preflight import Finding, PreflightReport, Severity
from kdaif.records.report import ArmResult, Calibration, CanaryCheck, JobResult, Shift
from kdaif.records.spec import (
    Architecture,
    Cnn,
    ColumnTeacher,
    DistillationSpec,
    Mlp,
    PlantedNoise,
    Splits,
    Teacher,
    TrainedTeacher,
    Training,
    Weighting,
)

__all__ = [
    "TERMINAL_STATES",
    "TRANSITIONS",
    "Architecture",
    "ArmResult",
    "AttemptManifest",
    "Calibration",
    "CanaryCheck",
    "Cnn",
    "Column",
    "ColumnTeacher",
    "Dataset",
    "DatasetState",
    "DistillationSpec",
    "Failure",
    "Finding",
    "Job",
    "JobEvent",
    "JobResult",
    "JobState",
    "Mlp",
    "PlantedNoise",
    "PreflightReport",
    "Progress",
    "Severity",
    "Shift",
    "Splits",
    "StoredFile",
    "Teacher",
    "TrainedTeacher",
    "Training",
    "Weighting",
    "WeightsShard",
]
