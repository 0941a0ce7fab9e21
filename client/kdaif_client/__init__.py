"""The kdaif SDK: upload data, distil a student from a teacher, read why each sample weighs what it weighs.

>>> from kdaif_client import Client
>>> kdaif = Client("localhost:50051")
>>> labeled = kdaif.upload_dataset(labeled_df, name="labeled")
>>> unlabeled = kdaif.upload_dataset("pool.parquet", name="pool")
>>> job = kdaif.submit(labeled=labeled, unlabeled=unlabeled).wait(progress=True)
>>> for weight in job.weights(order_by="val_loss_change_if_upweighted desc", limit=10):
...     print(weight)
>>> job.download_student("student/").predict(X)
"""

from kdaif_client import errors
from kdaif_client._async.client import AsyncClient
from kdaif_client._async.job import AsyncJob
from kdaif_client._async.line import AsyncLine
from kdaif_client._client import Client
from kdaif_client._job import Job
from kdaif_client._line import Line
from kdaif_client.architectures import (
    Activation,
    Architecture,
    Auto,
    Bag,
    BatchNorm,
    Cnn,
    Conv,
    Dropout,
    Layers,
    Linear,
    Mlp,
    Mobilenet,
    Pool,
    Resnet,
    TextEncoder,
)
from kdaif_client.audit_types import AuditEntry, AuditReport
from kdaif_client.bundle import Student, verify
from kdaif_client.errors import JobFailed, KdaifClientError
from kdaif_client.evidence_types import Evidence, EvidenceSearch, Neighbour, PairInfluence
from kdaif_client.explanation import Explanation
from kdaif_client.monitoring_types import Alarm, GroupAccuracy, GroupWeight, Scorecard
from kdaif_client.rollout_types import Canary, LineInfo, LineRevision, Outcomes, Resolved, Rollout
from kdaif_client.spec import (
    Checks,
    Export,
    Inputs,
    Monitoring,
    OverridesFrom,
    Scheduling,
    ScorecardShares,
    Spec,
    Splits,
    Training,
    Weighting,
)
from kdaif_client.teachers import (
    ColumnTeacher,
    EnsembleTeacher,
    OnnxTeacher,
    PlantedNoise,
    Teacher,
    TrainedTeacher,
    TransformerTeacher,
)
from kdaif_client.types import (
    ArmResult,
    BundleFile,
    Column,
    Dataset,
    DatasetKind,
    DatasetState,
    Estimate,
    Failure,
    Finding,
    JobEvent,
    JobInfo,
    JobResult,
    JobState,
    Preflight,
    Progress,
    StudentInfo,
)
from kdaif_client.weight_types import (
    ColumnSummary,
    Difference,
    NameSummary,
    Override,
    OverrideRevision,
    Provenance,
    SampleWeight,
    WeightChange,
    WeightSummary,
)

__all__ = [
    "Activation",
    "Alarm",
    "Architecture",
    "ArmResult",
    "AsyncClient",
    "AsyncJob",
    "AsyncLine",
    "AuditEntry",
    "AuditReport",
    "Auto",
    "Bag",
    "BatchNorm",
    "BundleFile",
    "Canary",
    "Checks",
    "Client",
    "Cnn",
    "Column",
    "ColumnSummary",
    "ColumnTeacher",
    "Conv",
    "Dataset",
    "DatasetKind",
    "DatasetState",
    "Difference",
    "Dropout",
    "EnsembleTeacher",
    "Estimate",
    "Evidence",
    "EvidenceSearch",
    "Explanation",
    "Export",
    "Failure",
    "Finding",
    "GroupAccuracy",
    "GroupWeight",
    "Inputs",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobInfo",
    "JobResult",
    "JobState",
    "KdaifClientError",
    "Layers",
    "Line",
    "LineInfo",
    "LineRevision",
    "Linear",
    "Mlp",
    "Mobilenet",
    "Monitoring",
    "NameSummary",
    "Neighbour",
    "OnnxTeacher",
    "Outcomes",
    "Override",
    "OverrideRevision",
    "OverridesFrom",
    "PairInfluence",
    "PlantedNoise",
    "Pool",
    "Preflight",
    "Progress",
    "Provenance",
    "Resnet",
    "Resolved",
    "Rollout",
    "SampleWeight",
    "Scheduling",
    "Scorecard",
    "ScorecardShares",
    "Spec",
    "Splits",
    "Student",
    "StudentInfo",
    "Teacher",
    "TextEncoder",
    "TrainedTeacher",
    "Training",
    "TransformerTeacher",
    "WeightChange",
    "WeightSummary",
    "Weighting",
    "errors",
    "verify",
]
