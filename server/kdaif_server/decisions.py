"""What people decide, on samples and on jobs that await a review: checked here, whichever way it came in."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence

from kdaif.errors import FailedPreconditionError, FieldViolation, InvalidInputError
from kdaif.queue import JobQueue
from kdaif.records import Job, JobState
from kdaif.records.audit import AuditEvent, AuditKind
from kdaif.records.overrides import Override, OverrideRevision
from kdaif.records.spec import OverridesFrom
from kdaif.store.overrides import append_overrides, read_overrides
from kdaif_server.artifacts import Artifacts
from kdaif_server.audit import recorded
from kdaif_server.names import job_name

_MAX_OVERRIDES = 10_000
_MAX_WEIGHT = 1e6
_LONGEST_TEXT = 1_000


async def record_decisions(
    artifacts: Artifacts, job: Job, overrides: Sequence[Override], *, author: str, reason: str
) -> OverrideRevision:
    """Adds one revision to the record of a job, and an entry to the audit log.

    Args:
        artifacts: of the job.
        job: that SUCCEEDED, or is AWAITING_REVIEW: then the rest of it honours them, once it is resumed.
        overrides: the decisions, 1 to 10,000.
        author: who decides.
        reason: why. Both are kept for good.

    Raises:
        InvalidInputError: a text is missing, a weight or a class is none of this job.
        NotFoundError: a sample is not of the job.
    """
    await asyncio.to_thread(_check_decisions, artifacts, job, overrides, author, reason)
    event = AuditEvent(
        kind=AuditKind.OVERRIDES,
        subject=job_name(job.tenant, job.id),
        action="set overrides",
        author=author,
        reason=reason,
        details={"decisions": _listed(overrides), "state": job.state},
    )
    now_ms = int(time.time() * 1000)
    async with recorded(artifacts.audit, job.tenant, event):
        return await asyncio.to_thread(
            lambda: append_overrides(
                artifacts.blobs, job.tenant, job.id, overrides, author=author, reason=reason, time_ms=now_ms
            )
        )


def _check_decisions(artifacts: Artifacts, job: Job, overrides: Sequence[Override], author: str, reason: str) -> None:
    wrong = _wrong_texts({"author": author, "reason": reason})
    if not 1 <= len(overrides) <= _MAX_OVERRIDES:
        wrong.append(FieldViolation("overrides", f"holds {len(overrides):,}; give 1 to {_MAX_OVERRIDES:,} at a time"))
    manifest = artifacts.manifest(job)
    wrong += _wrong_decisions(overrides, manifest.class_names)
    if wrong:
        raise InvalidInputError("; ".join(f"{each.field} {each.description}" for each in wrong), tuple(wrong))
    _, shard = artifacts.weights(manifest, 0)
    shard.rows_of([override.id for override in overrides])


def _listed(overrides: Sequence[Override]) -> str:
    """All of them in little room, for the record of the job may be deleted one day."""
    values = ({"weight": each.weight, "class_name": each.class_name} for each in overrides)
    return json.dumps(
        [
            {"id": each.id, "decision": each.decision}
            | {name: value for name, value in given.items() if value is not None}
            for each, given in zip(overrides, values, strict=True)
        ],
        ensure_ascii=False,
    )


async def rerun_job(queue: JobQueue, artifacts: Artifacts, job: Job) -> Job:
    """Queues a job again as a new one, with the decisions on its samples up to now; once for each revision.

    Raises:
        FailedPreconditionError: nobody decided anything on it.
    """
    revisions = await asyncio.to_thread(read_overrides, artifacts.blobs, job.tenant, job.id)
    if not revisions:
        raise FailedPreconditionError(f"Nobody decided anything on the samples of job {job.id} yet.")
    last = revisions[-1].revision
    # Revision 0 is what the job itself inherited: then there is nothing new, and the same job comes of it again.
    given = OverridesFrom(job=job.id, revision=last) if last else job.spec.overrides
    spec = job.spec.model_copy(update={"overrides": given})
    return await queue.submit(
        job.tenant,
        spec,
        job.preflight,
        request_id=f"rerun-{job.id}-{last}",
        display_name=f"{job.display_name or job.id}, decisions {last}",
        estimate=job.estimate,
    )


async def resume_job(
    queue: JobQueue,
    artifacts: Artifacts,
    tenant: str,
    job_id: str,
    *,
    author: str = "",
    reason: str = "",
    overrides: Sequence[Override] = (),
) -> Job:
    """Lets a job that awaits a review go on, with decisions on its samples where some are given.

    Raises:
        FailedPreconditionError: the job is in another state.
        InvalidInputError: a text is too long, or the decisions are refused, see `record_decisions`.
        NotFoundError: no such job, or a sample is not of it.
    """
    _check_lengths(author=author, reason=reason)
    job = await queue.get(tenant, job_id)
    if job.state is not JobState.AWAITING_REVIEW:
        return await queue.resume(tenant, job_id)  # which says why not
    revision = None
    if overrides:
        revision = await record_decisions(artifacts, job, overrides, author=author, reason=reason)
    details = {} if revision is None else {"overrides_revision": str(revision.revision)}
    event = _review(job, "resume", author, reason, details)
    async with recorded(artifacts.audit, tenant, event):
        return await queue.resume(tenant, job_id)


async def reject_job(
    queue: JobQueue, artifacts: Artifacts, tenant: str, job_id: str, why: str, *, author: str = ""
) -> Job:
    """Fails a job that awaits a review. Raises InvalidInputError for a text that is too long."""
    _check_lengths(author=author, why=why)
    job = await queue.get(tenant, job_id)
    said = why.strip() or "Rejected at its review."
    if job.state is not JobState.AWAITING_REVIEW:
        return await queue.reject(tenant, job_id, said)
    async with recorded(artifacts.audit, tenant, _review(job, "reject", author, why, {})):
        return await queue.reject(tenant, job_id, said)


def _review(job: Job, action: str, author: str, reason: str, details: dict[str, str]) -> AuditEvent:
    told = {"alarm": job.failure.message} if job.failure is not None else {}
    return AuditEvent(AuditKind.REVIEW, job_name(job.tenant, job.id), action, author, reason, told | details)


def _check_lengths(**texts: str) -> None:
    for field, text in texts.items():
        if len(text) > _LONGEST_TEXT:
            raise InvalidInputError.of(field, f"is longer than {_LONGEST_TEXT:,} characters")


def _wrong_texts(texts: dict[str, str]) -> list[FieldViolation]:
    return [
        FieldViolation(field, f"has {len(text)} characters; write 1 to {_LONGEST_TEXT:,}")
        for field, text in texts.items()
        if not text.strip() or len(text) > _LONGEST_TEXT
    ]


def _wrong_decisions(overrides: Sequence[Override], class_names: tuple[str, ...]) -> list[FieldViolation]:
    found = []
    for place, override in enumerate(overrides):
        if override.weight is not None and not (math.isfinite(override.weight) and 0 <= override.weight <= _MAX_WEIGHT):
            why = f"is {override.weight}; give a number from 0 to {_MAX_WEIGHT:,.0f}"
            found.append(FieldViolation(f"overrides[{place}].pin", why))
        if override.class_name is not None and override.class_name not in class_names:
            why = f"is {override.class_name!r}, which is no class of this job; there are {', '.join(class_names[:20])}"
            found.append(FieldViolation(f"overrides[{place}].relabel", why))
    return found
