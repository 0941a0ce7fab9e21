"""Jobs and events to and from the strings that Redis keeps."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from kdaif.records import (
    DistillationSpec,
    Estimate,
    Failure,
    Job,
    JobEvent,
    JobResult,
    JobSnapshot,
    JobState,
    PreflightReport,
    Progress,
    Scheduling,
    Shard,
)

_PREFLIGHT = TypeAdapter(PreflightReport)
_ESTIMATE = TypeAdapter(Estimate)
_PROGRESS = TypeAdapter(Progress)
_FAILURE = TypeAdapter(Failure)
_RESULT = TypeAdapter(JobResult)
_METRICS = TypeAdapter(dict[str, float])
_ORIGIN = TypeAdapter(dict[str, str])
_SHARD = TypeAdapter(Shard)

MOVING = (
    "state",
    "attempt",
    "worker",
    "claim",
    "started_at_ms",
    "ended_at_ms",
    "deadline_at_ms",
    "progress",
    "failure",
    "result",
)
"""The fields that transitions change, in the order in which scripts answer with them."""

AS_SUBMITTED = (
    "spec",
    "preflight",
    "estimate",
    "display_name",
    "max_attempts",
    "created_at_ms",
    "origin",
    "shard",
)
"""The fields that stay as they were, in that order too."""

# Characters of a log's end that are kept: some hundred lines, and not so many that a crash loop would fill the memory.
_LOG_TAIL = 8192
_LEAST_URGENT = 100


def encode(value: object) -> str:
    """JSON of a record. NaN and infinity stay numbers: a figure that is not finite must not make a job unreadable."""
    return to_json(value, inf_nan_mode="constants").decode()


def encode_failure(failure: Failure) -> str:
    """JSON of a failure with the last characters of its log."""
    return encode(dataclasses.replace(failure, log_tail=failure.log_tail[-_LOG_TAIL:]))


def body_digest(spec: DistillationSpec, display_name: str) -> str:
    """What two submissions with the same request id must agree on. The preflight report follows from the spec.

    What is as it is by default does not count: a setting that a release adds leaves the digests of before as they were.
    """
    return digest_of_encoded(encode_spec(spec), display_name)


def digest_of_encoded(spec: str, display_name: str) -> str:
    """As `body_digest`, of a spec that `encode_spec` has encoded."""
    return hashlib.sha256(f"[{encode(display_name)},{spec}]".encode()).hexdigest()


def encode_spec(spec: DistillationSpec) -> str:
    """JSON of what was asked for alone: what a release adds is not there for the workers of the one before."""
    return encode(_given(spec))


def _given(model: BaseModel) -> dict[str, object]:
    """The fields that are not as they are by default, and the names of kinds, by which alternatives differ."""
    given: dict[str, object] = {}
    for name, names_kind, default in _defaults(type(model)):
        value = getattr(model, name)
        if names_kind or value != default:
            given[name] = _given_value(value)
    return given


@functools.cache
def _defaults(model: type[BaseModel]) -> tuple[tuple[str, bool, object], ...]:
    """Of each field its name, whether it names a kind, and its default, which pydantic would copy for every look."""
    return tuple(
        (
            name,
            get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1,
            field.get_default(call_default_factory=True),
        )
        for name, field in model.model_fields.items()
    )


def _given_value(value: object) -> object:
    if isinstance(value, BaseModel):
        return _given(value)
    if isinstance(value, tuple | list):
        return [_given_value(each) for each in value]
    return value


def job_from(tenant: str, job_id: str, fields: Mapping[str, str]) -> Job:
    """The job of a hash. ``pydantic.ValidationError`` when the hash was written by something else."""
    return Job(
        tenant=tenant,
        id=job_id,
        spec=DistillationSpec.model_validate_json(fields["spec"]),
        preflight=_PREFLIGHT.validate_json(fields["preflight"]),
        created_at_ms=int(fields["created_at_ms"]),
        max_attempts=int(fields["max_attempts"]),
        display_name=fields["display_name"],
        estimate=_optional(_ESTIMATE, fields.get("estimate")),  # jobs of old have none
        origin=_ORIGIN.validate_json(fields.get("origin", "{}")),
        shard=_optional(_SHARD, fields.get("shard")),
        **_moving(fields),
    )


def queued_job(
    tenant: str,
    answer: Sequence[Any],
    spec: DistillationSpec,
    preflight: PreflightReport,
    display_name: str,
    estimate: Estimate | None,
    origin: Mapping[str, str] | None,
) -> Job:
    """The job that was just submitted; ``answer`` is its id, its time and its deadline or ""."""
    job_id, created_at_ms, deadline_at_ms = answer
    return Job(
        tenant=tenant,
        id=job_id,
        state=JobState.QUEUED,
        spec=spec,
        preflight=preflight,
        created_at_ms=created_at_ms,
        max_attempts=spec.max_attempts,
        display_name=display_name,
        estimate=estimate,
        deadline_at_ms=_optional_int(deadline_at_ms),
        origin=dict(origin or {}),
    )


def moved(job: Job, fields: Mapping[str, str]) -> Job:
    """The job after a transition, of which ``fields`` holds what a transition may change."""
    return dataclasses.replace(job, **_moving(fields))


def _moving(fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "state": JobState(fields["state"]),
        "attempt": int(fields["attempt"]),
        "progress": _optional(_PROGRESS, fields.get("progress")),
        "failure": _optional(_FAILURE, fields.get("failure")),
        "result": _optional(_RESULT, fields.get("result")),
        "started_at_ms": _optional_int(fields.get("started_at_ms")),
        "ended_at_ms": _optional_int(fields.get("ended_at_ms")),
        "worker": fields.get("worker", ""),
        "deadline_at_ms": _optional_int(fields.get("deadline_at_ms")),
    }


def snapshot_from(tenant: str, job_id: str, fields: Mapping[str, str]) -> JobSnapshot:
    """What the archive keeps of a hash."""
    return JobSnapshot(
        job=job_from(tenant, job_id, fields),
        version=int(fields["version"]),
        request_id=fields["request_id"],
        body_digest=fields["body"],
        event_count=int(fields["event_count"]),
        attempt_floor=int(fields.get("attempt_floor", 0)),
    )


def submitted_fields(
    spec: DistillationSpec,
    preflight: PreflightReport,
    display_name: str,
    request_id: str,
    estimate: Estimate | None,
    origin: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The fields of a job's hash that stay as they were submitted."""
    scheduling = spec.scheduling
    fields = {
        "spec": encode_spec(spec),
        "preflight": encode(preflight),
        "display_name": display_name,
        "request_id": request_id,
        "max_attempts": str(spec.max_attempts),
        "needs": needs_of(scheduling),
        # Sorts as text, the most urgent first.
        "rank": f"{_LEAST_URGENT - scheduling.priority:03d}",
        "deadline_ms": str((scheduling.deadline_s or 0) * 1000),
    }
    if origin:
        fields["origin"] = encode(dict(origin))
    return fields if estimate is None else fields | {"estimate": encode(estimate)}


def needs_of(scheduling: Scheduling, also: str = "") -> str:
    """What a worker must offer, as the line sorts it; ``also`` is one more label."""
    labels = [*scheduling.worker_labels, also] if also else scheduling.worker_labels
    return f"{scheduling.gpus};{','.join(sorted(labels))}"


def restored_fields(snapshot: JobSnapshot) -> dict[str, str]:
    """The fields of a job's hash that come back from the archive as they were."""
    job = snapshot.job
    fields = submitted_fields(job.spec, job.preflight, job.display_name, snapshot.request_id, job.estimate, job.origin)
    fields |= {"created_at_ms": str(job.created_at_ms), "event_count": str(snapshot.event_count)}
    if job.started_at_ms is not None:
        fields["started_at_ms"] = str(job.started_at_ms)
    if job.worker:
        fields["worker"] = job.worker
    kept = {"progress": job.progress, "failure": job.failure, "result": job.result}
    return fields | {name: encode(value) for name, value in kept.items() if value is not None}


def flat(fields: Mapping[str, str]) -> list[str]:
    """``[key, value, key, value]``, as a script takes a hash."""
    return [text for pair in fields.items() for text in pair]


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """``[key, value, key, value]``, as a script or the server answers with a hash, as a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def answered(moving: Sequence[str | int | None], as_submitted: Sequence[str | None] = ()) -> dict[str, str]:
    """The fields of a job with which a script answers, by their names."""
    values = zip((*MOVING, *AS_SUBMITTED), (*moving, *as_submitted), strict=False)
    return {name: str(value) for name, value in values if value is not None}


def event_from(entry_id: str, fields: Mapping[str, str]) -> JobEvent:
    """The event of a stream entry."""
    return JobEvent(
        sequence=int(entry_id.partition("-")[0]),
        time_ms=int(fields["time_ms"]),
        state=JobState(fields["state"]),
        attempt=int(fields["attempt"]),
        kind=fields["kind"],
        progress=_optional(_PROGRESS, fields["progress"]),
        metrics=_METRICS.validate_json(fields["metrics"]) if fields["metrics"] else {},
        failure=_optional(_FAILURE, fields["failure"]),
    )


def _optional(adapter: TypeAdapter[Any], text: str | None) -> Any:
    return adapter.validate_json(text) if text else None


def _optional_int(text: str | None) -> int | None:
    return int(text) if text else None
