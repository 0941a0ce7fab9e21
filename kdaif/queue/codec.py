"""Jobs and events to and from the strings that Redis keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from kdaif.records import (
    DistillationSpec,
    Estimate,
    Failure,
    Job,
    JobEvent,
    JobResult,
    JobState,
    PreflightReport,
    Progress,
)

_PREFLIGHT = TypeAdapter(PreflightReport)
_ESTIMATE = TypeAdapter(Estimate)
_PROGRESS = TypeAdapter(Progress)
_FAILURE = TypeAdapter(Failure)
_RESULT = TypeAdapter(JobResult)
_METRICS = TypeAdapter(dict[str, float])


def encode(value: object) -> str:
    """JSON of a record. NaN and infinity stay numbers: a figure that is not finite must not make a job unreadable."""
    return to_json(value, inf_nan_mode="constants").decode()


def body_digest(spec: DistillationSpec, display_name: str) -> str:
    """What two submissions with the same request id must agree on. The preflight report follows from the spec."""
    return hashlib.sha256(encode([display_name, spec]).encode()).hexdigest()


def job_from(tenant: str, job_id: str, fields: Mapping[str, str]) -> Job:
    """The job of a hash. ``pydantic.ValidationError`` when the hash was written by something else."""
    return Job(
        tenant=tenant,
        id=job_id,
        state=JobState(fields["state"]),
        spec=DistillationSpec.model_validate_json(fields["spec"]),
        preflight=_PREFLIGHT.validate_json(fields["preflight"]),
        created_at_ms=int(fields["created_at_ms"]),
        attempt=int(fields["attempt"]),
        max_attempts=int(fields["max_attempts"]),
        display_name=fields["display_name"],
        progress=_optional(_PROGRESS, fields.get("progress")),
        failure=_optional(_FAILURE, fields.get("failure")),
        result=_optional(_RESULT, fields.get("result")),
        started_at_ms=int(fields["started_at_ms"]) if "started_at_ms" in fields else None,
        ended_at_ms=int(fields["ended_at_ms"]) if "ended_at_ms" in fields else None,
        estimate=_optional(_ESTIMATE, fields.get("estimate")),  # jobs of old have none
    )


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """``[key, value, key, value]``, as a script answers with a hash, as a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


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
