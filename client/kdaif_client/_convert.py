"""Between the messages of kdaif.v1 and the types of the SDK. Nothing else translates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import datasets_pb2, jobs_pb2, spec_pb2, students_pb2, weights_pb2

from kdaif_client import types
from kdaif_client.errors import InvalidArgument
from kdaif_client.types import ColumnTeacher, Dataset, Spec, TrainedTeacher

_ROLES = ("labeled", "unlabeled", "validation", "test", "external")
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


def resource_name(tenant: str, collection: str, given: Any, field: str = "name") -> str:
    """The full resource name for a full name or a bare id."""
    name = given.name if hasattr(given, "name") else given
    if not isinstance(name, str) or not name:
        raise InvalidArgument.of(field, f"needs a resource name or an id, not {given!r}")
    return name if "/" in name else f"tenants/{tenant}/{collection}/{name}"


def spec_to_proto(spec: Spec, tenant: str) -> spec_pb2.DistillationSpec:
    """Only what was given is set; all else is left to the server's defaults."""
    for role in ("labeled", "unlabeled"):
        if not getattr(spec, role):
            raise InvalidArgument.of(f"spec.{role}", "is missing; give a Dataset or the name of one")
    return _spec_message(spec, tenant)


def _spec_message(spec: Spec, tenant: str) -> spec_pb2.DistillationSpec:
    message = spec_pb2.DistillationSpec()
    for role in _ROLES:
        given = getattr(spec, role)
        if given is not None and given != "":
            _set(message, "spec", role, resource_name(tenant, "datasets", given, f"spec.{role}"))
    for name in ("device", "max_runtime_s", "max_attempts", "class_names", "control_arms"):
        _set(message, "spec", name, getattr(spec, name))
    if spec.teacher is not None:
        _fill_teacher(message.teacher, spec.teacher, tenant)
    if spec.student is not None:
        _fill_architecture(message.student, "spec.student", spec.student)
    for name in ("training", "weighting", "splits"):
        settings = getattr(spec, name)
        if settings is not None:
            _fill(getattr(message, name), f"spec.{name}", settings)
    return message


def spec_from_proto(message: spec_pb2.DistillationSpec) -> Spec:
    """The inverse of ``spec_to_proto``."""
    given: dict[str, Any] = {"labeled": message.labeled, "unlabeled": message.unlabeled}
    given |= {name: getattr(message, name) for name in ("validation", "test", "external") if message.HasField(name)}
    for name in ("device", "max_runtime_s", "max_attempts"):
        if message.HasField(name):
            given[name] = getattr(message, name)
    return Spec(
        **given,
        class_names=tuple(message.class_names) or None,
        control_arms=tuple(message.control_arms) or None,
        teacher=_teacher(message.teacher) if message.HasField("teacher") else None,
        student=_architecture(message.student),
        training=_settings(types.Training, message.training) if message.HasField("training") else None,
        weighting=_settings(types.Weighting, message.weighting) if message.HasField("weighting") else None,
        splits=_settings(types.Splits, message.splits) if message.HasField("splits") else None,
    )


def spec_from_json(document: Any) -> Spec:
    """A spec in the JSON form of the proto: ``{"labeled": "...", "student": {"mlp": {"hidden_sizes": [64]}}}``."""
    message = spec_pb2.DistillationSpec()
    if not isinstance(document, dict):
        raise InvalidArgument(f"The spec is a {type(document).__name__}; give a kdaif.v1.DistillationSpec, an object.")
    try:
        json_format.ParseDict(document, message)
    except (json_format.ParseError, AttributeError, TypeError) as error:
        raise InvalidArgument(f"The spec is not a kdaif.v1.DistillationSpec in JSON: {error}") from None
    return spec_from_proto(message)


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """What ``spec_from_json`` reads, for a spec whose data sets have full names."""
    given = json_format.MessageToDict(_spec_message(spec, ""), preserving_proto_field_name=True)
    return dict(given)


def dataset(message: datasets_pb2.Dataset) -> Dataset:
    """One data set."""
    return Dataset(
        name=message.name,
        display_name=message.display_name,
        state=types.DatasetState(_enum_name(message, "state", types.DatasetState)),
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        row_count=message.row_count,
        columns=tuple(types.Column(c.name, c.arrow_type) for c in message.columns),
        create_time=_time(message, "create_time"),
    )


def job(message: jobs_pb2.DistillationJob) -> types.JobInfo:
    """One job."""
    return types.JobInfo(
        name=message.name,
        display_name=message.display_name,
        state=types.JobState(_enum_name(message, "state", types.JobState)),
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
        state=types.JobState(_enum_name(message, "state", types.JobState)),
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


def _fill_teacher(message: spec_pb2.Teacher, teacher: types.Teacher, tenant: str) -> None:
    if isinstance(teacher, TrainedTeacher):
        message.train.SetInParent()
        _set(message.train, "spec.teacher.train", "epochs", teacher.epochs)
        if teacher.architecture is not None:
            _fill_architecture(message.train.architecture, "spec.teacher.train.architecture", teacher.architecture)
    elif isinstance(teacher, ColumnTeacher):
        path = "spec.teacher.column"
        message.column.SetInParent()
        if teacher.dataset is not None:
            name = resource_name(tenant, "datasets", teacher.dataset, f"{path}.dataset")
            _set(message.column, path, "dataset", name)
        _set(message.column, path, "outputs", teacher.outputs)
        _set(message.column, path, "class_names", teacher.class_names)
    else:
        raise InvalidArgument.of("spec.teacher", f"is {teacher!r}; give a TrainedTeacher or a ColumnTeacher")
    if teacher.planted_noise is not None:
        _fill(message.planted_noise, "spec.teacher.planted_noise", teacher.planted_noise)


def _fill_architecture(message: spec_pb2.Architecture, path: str, architecture: Any) -> None:
    kinds: dict[type, str] = {types.Mlp: "mlp", types.Cnn: "cnn"}
    kind = kinds.get(type(architecture))
    if kind is None:
        raise InvalidArgument.of(path, f"is {architecture!r}; give an Mlp or a Cnn")
    chosen = getattr(message, kind)
    chosen.SetInParent()
    _fill(chosen, f"{path}.{kind}", architecture)


def _fill(message: Message, path: str, settings: Any) -> None:
    """Sets the fields of a message from those of the same names in a dataclass."""
    for field in fields(settings):
        _set(message, path, field.name, getattr(settings, field.name))


def _set(message: Message, path: str, name: str, value: Any) -> None:
    if value is None:
        return
    field = message.DESCRIPTOR.fields_by_name[name]
    where = f"{path}.{name}"
    if field.enum_type is not None:
        choices = {_choice(member, field.enum_type): member.number for member in field.enum_type.values}
        choices.pop("unspecified")
        if value not in choices:
            raise InvalidArgument.of(where, f"is {value!r}; choose from {', '.join(choices)}")
        value = choices[value]
    try:
        if not _is_list(getattr(message, name)):
            setattr(message, name, value)
            return
        if isinstance(value, str):
            raise InvalidArgument.of(where, f"is the text {value!r}; give a list")
        if len(value) == 0:
            # On the wire an empty list is the same as none, and the server would use its default unseen.
            raise InvalidArgument.of(where, "is empty, which cannot be sent; give at least one, or leave it out")
        getattr(message, name).extend(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of(where, f"cannot be {value!r}: {error}") from None


def _teacher(message: spec_pb2.Teacher) -> types.Teacher | None:
    noise = None
    if message.HasField("planted_noise"):
        kind = _chosen(message.planted_noise, "kind")
        noise = types.PlantedNoise(kind or "class_swap", message.planted_noise.share)
    if message.WhichOneof("kind") == "column":
        column = message.column
        return ColumnTeacher(
            outputs=_chosen(column, "outputs") or "logits",
            class_names=tuple(column.class_names),
            dataset=column.dataset if column.HasField("dataset") else None,
            planted_noise=noise,
        )
    train = message.train
    return TrainedTeacher(
        architecture=_architecture(train.architecture),
        epochs=train.epochs if train.HasField("epochs") else None,
        planted_noise=noise,
    )


def _architecture(message: spec_pb2.Architecture) -> types.Architecture | None:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    architecture: types.Architecture = (
        _settings(types.Mlp, message.mlp) if kind == "mlp" else _settings(types.Cnn, message.cnn)
    )
    return architecture


def _settings(kind: Any, message: Message) -> Any:
    """The inverse of ``_fill``."""
    given: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.enum_type is not None:
            given[field.name] = _chosen(message, field.name)
        else:
            given[field.name] = tuple(value) if _is_list(value) else value
    return kind(**given)


def _is_list(value: Any) -> bool:
    # FieldDescriptor.is_repeated would say it too, but only from protobuf 6 on.
    return hasattr(value, "extend")


def _chosen(message: Message, name: str) -> Any:
    """An enum field as the lower-case choice of the SDK; ``None`` when unset or from a newer server."""
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    member = enum.values_by_number.get(getattr(message, name)) if enum is not None else None
    return _choice(member, enum) if member is not None and member.number != 0 else None


def _choice(member: Any, enum: Any) -> str:
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(member.name.removeprefix(prefix).lower())


def _enum_name(message: Message, name: str, known: Any = None) -> str:
    """An enum field by name without its prefix. A value of a newer server becomes UNSPECIFIED."""
    choice = (_chosen(message, name) or "unspecified").upper()
    return choice if known is None or choice in known.__members__ else "UNSPECIFIED"


def _progress(message: jobs_pb2.DistillationJob | jobs_pb2.JobEvent) -> types.Progress | None:
    if not message.HasField("progress"):
        return None
    p = message.progress
    return types.Progress(p.stage, p.arm, p.round, p.rounds, p.fraction, p.message)


def _failure(message: jobs_pb2.DistillationJob | jobs_pb2.JobEvent) -> types.Failure | None:
    if not message.HasField("failure"):
        return None
    f = message.failure
    return types.Failure(_enum_name(f, "reason"), f.message, f.retryable, f.attempt)


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
        severity=_enum_name(message, "severity"),
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
