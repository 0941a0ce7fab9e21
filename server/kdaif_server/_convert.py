"""Between the messages of kdaif.v1 and the records of kdaif. Nothing else translates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import datasets_pb2, jobs_pb2, spec_pb2, students_pb2
from pydantic import ValidationError

from kdaif.errors import FieldViolation, InvalidInputError
from kdaif.records import (
    ArmResult,
    AttemptManifest,
    Dataset,
    DatasetKind,
    DistillationSpec,
    Failure,
    Finding,
    Job,
    JobEvent,
    JobState,
    Progress,
)
from kdaif_server._convert_monitoring import monitored
from kdaif_server.names import dataset_name, job_name, parse_name, student_name

_DATASET_ROLES = ("labeled", "unlabeled", "validation", "test", "external", "initial_weights")
_TEACHER_DATASETS = ("dataset", "model")


def spec_from_proto(message: spec_pb2.DistillationSpec, tenant: str) -> DistillationSpec:
    """The checked spec. Raises InvalidInputError with one violation per wrong field."""
    plain = _plain(message)
    for role in _DATASET_ROLES:
        if role in plain:
            plain[role] = _dataset_id(plain[role], tenant, f"spec.{role}")
    if "overrides" in plain:
        field, overrides = "spec.overrides.job", plain["overrides"]
        owner, overrides["job"] = parse_name(overrides.get("job", ""), "distillationJobs", field)
        if owner != tenant:
            raise InvalidInputError.of(field, "belongs to another tenant than the job")
    teacher = plain.get("teacher", {})
    if "kind" in teacher:
        source = {key: value for key, value in teacher.items() if key != "planted_noise"}
        plain["teacher"] = {"source": source} | {key: teacher[key] for key in ("planted_noise",) if key in teacher}
        for path, member in _members(source):
            for role in _TEACHER_DATASETS:
                if role in member:
                    member[role] = _dataset_id(member[role], tenant, f"{path}.{role}")
    try:
        return DistillationSpec.model_validate(plain)
    except ValidationError as error:
        violations = tuple(
            FieldViolation(_field_path(detail["loc"]), detail["msg"].removeprefix("Value error, "))
            for detail in error.errors(include_url=False)
        )
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidInputError(f"The spec is wrong in {len(violations)} place(s): {listed}", violations) from error


def spec_to_proto(spec: DistillationSpec, tenant: str) -> spec_pb2.DistillationSpec:
    """The spec with every default written out, so that a job shows what it used."""
    plain = spec.model_dump(mode="json", exclude_none=True)
    for role in _DATASET_ROLES:
        if role in plain:
            plain[role] = dataset_name(tenant, plain[role])
    teacher = plain["teacher"]
    source = teacher.pop("source")
    for _, member in _members(source):
        for role in _TEACHER_DATASETS:
            if role in member:
                member[role] = dataset_name(tenant, member[role])
    plain["teacher"] = source | teacher
    if spec.overrides is not None:
        plain["overrides"]["job"] = job_name(tenant, spec.overrides.job)
    message = spec_pb2.DistillationSpec()
    _fill(message, plain)
    return message


def _members(source: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The teachers that are asked, each with its path in the request."""
    if source["kind"] != "ensemble":
        return [(f"spec.teacher.{source['kind']}", source)]
    return [
        (f"spec.teacher.ensemble.members[{position}].{member.get('kind', '')}", member)
        for position, member in enumerate(source.get("members", []))
    ]


def dataset_to_proto(dataset: Dataset) -> datasets_pb2.Dataset:
    """One data set."""
    return datasets_pb2.Dataset(
        name=dataset_name(dataset.tenant, dataset.id),
        display_name=dataset.display_name,
        state=datasets_pb2.Dataset.State.Value(f"STATE_{dataset.state}"),
        sha256=dataset.sha256,
        size_bytes=dataset.size_bytes,
        row_count=dataset.row_count,
        columns=[datasets_pb2.Dataset.Column(name=c.name, arrow_type=c.arrow_type) for c in dataset.columns],
        create_time=_timestamp(dataset.created_at_ms),
        kind=datasets_pb2.Dataset.Kind.Value(f"KIND_{dataset.kind}"),
        uri=dataset.uri,
        etag=dataset.etag,
    )


def dataset_kind_from_proto(value: datasets_pb2.Dataset.Kind.ValueType) -> DatasetKind:
    """A table where none is given. Raises InvalidInputError for a value that this server does not know."""
    if value == datasets_pb2.Dataset.KIND_UNSPECIFIED:
        return DatasetKind.TABLE
    known = value in datasets_pb2.Dataset.Kind.values()
    name = datasets_pb2.Dataset.Kind.Name(value).removeprefix("KIND_") if known else ""
    if name not in DatasetKind.__members__:
        raise InvalidInputError.of("kind", f"is {value}, which is no kind of data set")
    return DatasetKind[name]


def job_to_proto(job: Job) -> jobs_pb2.DistillationJob:
    """One job. A job without an id (``validate_only``) has no name."""
    message = jobs_pb2.DistillationJob(
        name=job_name(job.tenant, job.id) if job.id else "",
        display_name=job.display_name,
        state=state_to_proto(job.state) if job.id else jobs_pb2.JOB_STATE_UNSPECIFIED,
        spec=spec_to_proto(job.spec, job.tenant),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        progress=_progress(job.progress),
        failure=_failure(job.failure),
        preflight=[_finding(finding) for finding in job.preflight.findings],
        worker=job.worker,
    )
    if job.estimate is not None:
        cost = job.estimate
        message.estimate.CopyFrom(
            jobs_pb2.DistillationJob.Estimate(seconds=cost.seconds, memory_bytes=cost.memory_bytes)
        )
    if job.result is not None:
        message.result.CopyFrom(
            jobs_pb2.DistillationJob.Result(
                student=student_name(job.tenant, job.id),
                arms=[arm_to_proto(arm) for arm in job.result.arms],
                verdict=job.result.verdict,
                seconds=job.result.seconds,
                external_arms=[arm_to_proto(arm) for arm in job.result.external_arms],
                external_verdict=job.result.external_verdict,
                shipped_arm=job.result.shipped_arm,
                canary=job.result.canary,
                canary_auroc=job.result.canary_auroc,
                canary_stderr=job.result.canary_stderr,
                **monitored(job.result),
            )
        )
    times = {
        "create_time": job.created_at_ms,
        "start_time": job.started_at_ms,
        "end_time": job.ended_at_ms,
        "deadline_time": job.deadline_at_ms,
    }
    for field, time_ms in times.items():
        if time_ms:
            getattr(message, field).CopyFrom(_timestamp(time_ms))
    return message


def event_to_proto(event: JobEvent) -> jobs_pb2.JobEvent:
    """One event."""
    return jobs_pb2.JobEvent(
        sequence=event.sequence,
        time=_timestamp(event.time_ms),
        state=state_to_proto(event.state),
        attempt=event.attempt,
        kind=event.kind,
        progress=_progress(event.progress),
        metrics=event.metrics,
        failure=_failure(event.failure),
    )


def student_to_proto(job: Job, manifest: AttemptManifest) -> students_pb2.Student:
    """The student that ``job`` made."""
    return students_pb2.Student(
        name=student_name(job.tenant, job.id),
        job=job_name(job.tenant, job.id),
        files=[
            students_pb2.BundleFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
            for file in manifest.bundle
        ],
        class_names=manifest.class_names,
        arms=[arm_to_proto(arm) for arm in job.result.arms] if job.result else [],
        create_time=_timestamp(manifest.created_at_ms),
        shipped_arm=job.result.shipped_arm if job.result else "",
    )


def arm_to_proto(arm: ArmResult) -> jobs_pb2.ArmResult:
    """One arm; figures that it does not have stay absent."""
    return jobs_pb2.ArmResult(
        arm=arm.arm,
        accuracy=arm.accuracy,
        macro_f1=arm.macro_f1,
        accuracy_per_seed=arm.accuracy_per_seed,
        accuracy_minus_uniform=arm.accuracy_minus_uniform,
        p_value=arm.p_value,
        size_kb=arm.size_kb,
        ms_per_row=arm.ms_per_row,
        ece=arm.ece,
    )


def state_to_proto(state: JobState) -> jobs_pb2.JobState.ValueType:
    """The enum value of the same name."""
    return jobs_pb2.JobState.Value(f"JOB_STATE_{state}")


def state_from_proto(value: jobs_pb2.JobState.ValueType) -> JobState:
    """Raises InvalidInputError for a value that this server does not know."""
    name = jobs_pb2.JobState.Name(value).removeprefix("JOB_STATE_") if value in jobs_pb2.JobState.values() else ""
    if name not in JobState.__members__:
        raise InvalidInputError.of("states", f"holds {value}, which is no job state")
    return JobState[name]


def _progress(progress: Progress | None) -> jobs_pb2.DistillationJob.Progress | None:
    if progress is None:
        return None
    return jobs_pb2.DistillationJob.Progress(
        stage=progress.stage,
        arm=progress.arm,
        round=progress.round,
        rounds=progress.rounds,
        fraction=progress.fraction,
        message=progress.message,
    )


def _failure(failure: Failure | None) -> jobs_pb2.DistillationJob.Failure | None:
    if failure is None:
        return None
    return jobs_pb2.DistillationJob.Failure(
        reason=jobs_pb2.FailureReason.Value(f"FAILURE_REASON_{failure.reason}"),
        message=failure.message,
        retryable=failure.retryable,
        attempt=failure.attempt,
        log_tail=failure.log_tail,
    )


def _finding(finding: Finding) -> jobs_pb2.PreflightFinding:
    return jobs_pb2.PreflightFinding(
        severity=jobs_pb2.PreflightFinding.Severity.Value(f"SEVERITY_{finding.severity}"),
        code=finding.code,
        field=finding.field,
        message=finding.message,
        row_count=finding.row_count,
        ids=finding.ids,
    )


def _timestamp(time_ms: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(time_ms)
    return timestamp


def _dataset_id(name: str, tenant: str, field: str) -> str:
    owner, dataset_id = parse_name(name, "datasets", field)
    if owner != tenant:
        raise InvalidInputError.of(field, f"{name} belongs to another tenant than the job")
    return dataset_id


def _field_path(loc: tuple[int | str, ...]) -> str:
    """Pydantic's location as a path into the proto: a union's tag is the name of the oneof's field there."""
    path = "spec"
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "source":
            path += f".{part}"
    return path


def _is_list(value: Any) -> bool:
    # FieldDescriptor.is_repeated would say it too, but only from protobuf 6 on.
    return hasattr(value, "extend")


def _enum_prefix(enum: Any) -> str:
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _plain(message: Message) -> dict[str, Any]:
    """Set fields by name; enums as lower-case names, and a oneof called ``kind`` as a tag beside the fields chosen."""
    plain: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.containing_oneof is not None and field.containing_oneof.name == "kind":
            plain |= {"kind": field.name} | _plain(value)
        elif _is_list(value):
            plain[field.name] = [_plain_value(field, element) for element in value]
        else:
            plain[field.name] = _plain_value(field, value)
    return plain


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name.removeprefix(_enum_prefix(field.enum_type)).lower() if known else str(value)
    return value


def _fill(message: Message, plain: Mapping[str, Any]) -> None:
    """The inverse of ``_plain``."""
    descriptor = message.DESCRIPTOR
    rest = dict(plain)
    kind = descriptor.oneofs_by_name.get("kind")
    if kind is not None:
        chosen = getattr(message, rest.pop("kind"))
        chosen.SetInParent()
        inner = {field.name for field in chosen.DESCRIPTOR.fields}
        _fill(chosen, {name: rest.pop(name) for name in list(rest) if name in inner})
    for name, value in rest.items():
        field = descriptor.fields_by_name[name]
        if _is_list(getattr(message, name)) and field.message_type is not None:
            for element in value:
                _fill(getattr(message, name).add(), element)
        elif _is_list(getattr(message, name)):
            getattr(message, name).extend(value)
        elif field.message_type is not None:
            _fill(getattr(message, name), value)
        elif field.enum_type is not None:
            setattr(message, name, field.enum_type.values_by_name[_enum_prefix(field.enum_type) + value.upper()].number)
        else:
            setattr(message, name, value)
