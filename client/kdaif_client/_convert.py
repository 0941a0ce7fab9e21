"""Between the messages of kdaif.v1 and the types of the SDK. Nothing else translates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pyarrow as pa
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import datasets_pb2, jobs_pb2, students_pb2, weights_pb2

from kdaif_client import types
from kdaif_client._convert_spec import spec_from_proto
from kdaif_client._fields import enum_name
from kdaif_client.errors import InvalidArgument
from kdaif_client.types import Dataset

_WEIGHT_COLUMNS = (
    "weight",
    "val_loss_change_if_upweighted",
    "stderr",
    "z_influence",
    "z_agreement",
    "log_odds",
    "pseudo_label",
    "teacher_confidence",
    "student_label",
    "student_confidence",
    "distillation_loss",
)
_WEIGHT_TEXTS = frozenset({"pseudo_label", "student_label"})


def dataset(message: datasets_pb2.Dataset) -> Dataset:
    """One data set."""
    return Dataset(
        name=message.name,
        display_name=message.display_name,
        state=types.DatasetState(enum_name(message, "state", types.DatasetState)),
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        row_count=message.row_count,
        columns=tuple(types.Column(c.name, c.arrow_type) for c in message.columns),
        create_time=_time(message, "create_time"),
        kind=types.DatasetKind(enum_name(message, "kind", types.DatasetKind)),
        uri=message.uri,
    )


def kind_to_proto(kind: types.DatasetKind | str) -> datasets_pb2.Dataset.Kind.ValueType:
    """The enum value of the same name."""
    name = f"KIND_{str(kind).upper()}"
    if name not in datasets_pb2.Dataset.Kind.keys() or name == "KIND_UNSPECIFIED":  # noqa: SIM118
        known = ", ".join(known for known in types.DatasetKind if known is not types.DatasetKind.UNSPECIFIED)
        raise InvalidArgument.of("kind", f"is {str(kind)!r}; choose from {known}")
    return datasets_pb2.Dataset.Kind.Value(name)


def job(message: jobs_pb2.DistillationJob) -> types.JobInfo:
    """One job."""
    return types.JobInfo(
        name=message.name,
        display_name=message.display_name,
        state=types.JobState(enum_name(message, "state", types.JobState)),
        spec=spec_from_proto(message.spec),
        attempt=message.attempt,
        max_attempts=message.max_attempts,
        progress=_progress(message),
        failure=_failure(message),
        result=_result(message.result) if message.HasField("result") else None,
        preflight=tuple(_finding(finding) for finding in message.preflight),
        create_time=_time(message, "create_time"),
        start_time=_time(message, "start_time"),
        end_time=_time(message, "end_time"),
        estimate=_estimate(message),
        worker=message.worker,
        deadline_time=_time(message, "deadline_time"),
    )


def state_to_proto(state: types.JobState | str) -> jobs_pb2.JobState.ValueType:
    """The enum value of the same name."""
    name = f"JOB_STATE_{str(state).upper()}"
    if name not in jobs_pb2.JobState.keys() or state == types.JobState.UNSPECIFIED:  # noqa: SIM118
        known = ", ".join(s for s in types.JobState if s is not types.JobState.UNSPECIFIED)
        raise InvalidArgument.of("states", f"holds {str(state)!r}; choose from {known}")
    return jobs_pb2.JobState.Value(name)


def event(message: jobs_pb2.JobEvent) -> types.JobEvent:
    """One event."""
    return types.JobEvent(
        sequence=message.sequence,
        time=_time(message, "time"),
        state=types.JobState(enum_name(message, "state", types.JobState)),
        attempt=message.attempt,
        kind=message.kind,
        progress=_progress(message),
        metrics=dict(message.metrics),
        failure=_failure(message),
    )


def student(message: students_pb2.Student) -> types.StudentInfo:
    """One listed student."""
    return types.StudentInfo(
        name=message.name,
        job=message.job,
        files=tuple(types.BundleFile(f.path, f.sha256, f.size_bytes) for f in message.files),
        class_names=tuple(message.class_names),
        arms=tuple(_arm(arm) for arm in message.arms),
        create_time=_time(message, "create_time"),
        shipped_arm=message.shipped_arm,
    )


def weights(page: weights_pb2.SampleWeights) -> Iterator[types.SampleWeight]:
    """The rows of a columnar page."""
    columns = [getattr(page, name) for name in _WEIGHT_COLUMNS]
    truth = [name or None for name in page.truth] or [None] * len(page.ids)
    for sample_id, *values in zip(page.ids, *columns, truth, _overrides(page), strict=True):
        yield types.SampleWeight(sample_id, page.round, *values)


def weights_table(page: weights_pb2.SampleWeights) -> pa.Table:
    """The columns of a page, without a detour over rows."""
    columns: dict[str, pa.Array] = {
        "id": pa.array(page.ids, pa.string()),
        "round": pa.array([page.round] * len(page.ids), pa.int32()),
    }
    for name in _WEIGHT_COLUMNS:
        columns[name] = pa.array(getattr(page, name), pa.string() if name in _WEIGHT_TEXTS else pa.float32())
    columns["truth"] = pa.array([name or None for name in page.truth] or [None] * len(page.ids), pa.string())
    columns["weight_override"] = pa.array(_overrides(page), pa.float32())
    return pa.table(columns)


def _overrides(page: weights_pb2.SampleWeights) -> list[float | None]:
    given = [None if math.isnan(value) else value for value in page.weight_override]
    return given or [None] * len(page.ids)


def _estimate(message: jobs_pb2.DistillationJob) -> types.Estimate | None:
    if not message.HasField("estimate"):
        return None
    return types.Estimate(message.estimate.seconds, message.estimate.memory_bytes)


def _progress(message: jobs_pb2.DistillationJob | jobs_pb2.JobEvent) -> types.Progress | None:
    if not message.HasField("progress"):
        return None
    p = message.progress
    return types.Progress(p.stage, p.arm, p.round, p.rounds, p.fraction, p.message)


def _failure(message: jobs_pb2.DistillationJob | jobs_pb2.JobEvent) -> types.Failure | None:
    if not message.HasField("failure"):
        return None
    f = message.failure
    return types.Failure(enum_name(f, "reason"), f.message, f.retryable, f.attempt, f.log_tail)


def _result(message: jobs_pb2.DistillationJob.Result) -> types.JobResult:
    return types.JobResult(
        student=message.student,
        arms=tuple(_arm(arm) for arm in message.arms),
        verdict=message.verdict,
        seconds=message.seconds,
        external_arms=tuple(_arm(arm) for arm in message.external_arms),
        external_verdict=message.external_verdict,
        shipped_arm=message.shipped_arm,
        canary=message.canary,
        canary_auroc=message.canary_auroc if message.HasField("canary_auroc") else None,
        canary_stderr=message.canary_stderr if message.HasField("canary_stderr") else None,
    )


def _arm(message: jobs_pb2.ArmResult) -> types.ArmResult:
    optional: Mapping[str, float | None] = {
        name: getattr(message, name) if message.HasField(name) else None
        for name in ("accuracy_minus_uniform", "p_value", "size_kb", "ms_per_row", "ece")
    }
    return types.ArmResult(
        arm=message.arm,
        accuracy=message.accuracy,
        macro_f1=message.macro_f1,
        accuracy_per_seed=tuple(message.accuracy_per_seed),
        **optional,
    )


def _finding(message: jobs_pb2.PreflightFinding) -> types.Finding:
    return types.Finding(
        severity=enum_name(message, "severity"),
        code=message.code,
        field=message.field,
        message=message.message,
        row_count=message.row_count,
        ids=tuple(message.ids),
    )


def _time(message: Message, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    timestamp: Timestamp = getattr(message, name)
    return timestamp.ToDatetime(tzinfo=UTC)
