"""Between the messages of kdaif.v1 and the types of the SDK. Nothing else translates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import datasets_pb2, jobs_pb2, students_pb2

from kdaif_client import types
from kdaif_client._convert_monitoring import monitored
from kdaif_client._convert_spec import spec_from_proto
from kdaif_client._fields import enum_name
from kdaif_client.errors import InvalidArgument
from kdaif_client.types import Dataset


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
        create_time=time_of(message, "create_time"),
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
        create_time=time_of(message, "create_time"),
        start_time=time_of(message, "start_time"),
        end_time=time_of(message, "end_time"),
        estimate=_estimate(message),
        worker=message.worker,
        deadline_time=time_of(message, "deadline_time"),
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
        time=time_of(message, "time"),
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
        create_time=time_of(message, "create_time"),
        shipped_arm=message.shipped_arm,
        signature=_signature(message),
    )


def _signature(message: students_pb2.Student) -> types.BundleSignature | None:
    if not message.HasField("signature"):
        return None
    told = message.signature
    return types.BundleSignature(told.key_id, told.algorithm, told.signature)


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
        **monitored(message),
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


def time_of(message: Message, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    timestamp: Timestamp = getattr(message, name)
    return timestamp.ToDatetime(tzinfo=UTC)
