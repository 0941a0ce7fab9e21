"""What a key may do: one scope for each method. A method that is not in the table needs the scope ``admin``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Scope(StrEnum):
    """What a key is for.

    ``review`` is a person's word: on samples, on a job that waits for one, and on what devices run. So the key of a
    device, which has ``students`` alone, cannot change what others run. ``admin`` is all of these, for its tenant.
    """

    DATASETS = "datasets"
    JOBS = "jobs"
    WEIGHTS = "weights"
    STUDENTS = "students"
    REVIEW = "review"
    ADMIN = "admin"


_BY_SCOPE: Mapping[Scope, Mapping[str, str]] = {
    Scope.DATASETS: {
        "DatasetService": "CreateDataset WriteDataset QueryWriteStatus GetDataset ListDatasets DeleteDataset",
        "DistillationJobService": "ReadRejectedRows",  # it hands out rows of the data
    },
    Scope.JOBS: {
        "DistillationJobService": "CreateDistillationJob GetDistillationJob ListDistillationJobs "
        "CancelDistillationJob RetryDistillationJob DeleteDistillationJob WatchDistillationJob",
    },
    Scope.WEIGHTS: {
        "WeightService": "ListSampleWeights BatchGetSampleWeights StreamSampleWeights GetWeightHistory "
        "SummarizeWeights ListOverrideRevisions ExplainSamples",
    },
    Scope.STUDENTS: {
        "StudentService": "GetStudent ListStudents ReadBundle GetAliases ListLines ListAliasRevisions ResolveAlias "
        "ReportOutcomes GetRollout",
    },
    Scope.REVIEW: {
        "DistillationJobService": "ResumeDistillationJob RejectDistillationJob",
        "WeightService": "SetOverrides",
        "AuditService": "ListAuditEntries",
        "StudentService": "SetAlias PromoteCanary RollBack",
    },
}

SCOPE_OF: Mapping[str, Scope] = MappingProxyType(
    {
        f"/kdaif.v1.{service}/{method}": scope
        for scope, services in _BY_SCOPE.items()
        for service, methods in services.items()
        for method in methods.split()
    }
)
"""The scope by the full name of a method."""

OPEN = "/grpc.health."
"""Where everybody may ask: whether the server is up. It names nobody's data."""


def scope_of(method: str) -> Scope:
    """The scope that a method needs; the highest where nobody has decided on it."""
    return SCOPE_OF.get(method, Scope.ADMIN)
