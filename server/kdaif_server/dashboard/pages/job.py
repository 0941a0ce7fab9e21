"""One job: how far it is, what came of it, what may be done."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kdaif.errors import FailedPreconditionError
from kdaif.records import Job, JobEvent, JobState, Severity
from kdaif_server.backend import Backend
from kdaif_server.dashboard.asked import backend_of, has_weights, job_of, readings_of
from kdaif_server.dashboard.curves import charts_of, rounds_of_events, rounds_of_report
from kdaif_server.dashboard.pages.jobs import outcome
from kdaif_server.dashboard.rendering import fragment, render
from kdaif_server.dashboard.timing import elapsed_s, remaining_s
from kdaif_server.weights.explained import Explained

CANCELLABLE = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.AWAITING_REVIEW})
RETRYABLE = frozenset({JobState.FAILED, JobState.DEAD, JobState.CANCELLED})
_SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.INFO)
_EVENTS = 1000


async def show(request: Request) -> Response:
    """The page."""
    return await page(request, await job_of(request))


async def page(
    request: Request,
    job: Job,
    *,
    status: int = 200,
    form: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """The page of a job, with what was wrong with a form on it."""
    events = await read_events(backend_of(request), job)
    report = await _report(request, job)
    explained = await asyncio.to_thread(_explained, request, job)
    findings = sorted(job.preflight.findings, key=lambda finding: _SEVERITIES.index(finding.severity))
    return render(
        request,
        "job.html",
        status=status,
        job=job,
        live=live(job),
        last=events[-1].sequence if events else 0,
        findings=findings,
        alarms=[alarm for alarm in report.get("alarms") or [] if isinstance(alarm, dict)],
        explained=explained,
        cancellable=job.state in CANCELLABLE,
        retryable=job.state in RETRYABLE,
        weighed=has_weights(job),
        spec=json.dumps(job.spec.model_dump(mode="json"), ensure_ascii=False, indent=2),
        form=form or {},
        wrong=wrong or {},
        **outcome(job),
    )


async def curves(request: Request) -> Response:
    """Charts over the rounds, as JSON."""
    job = await job_of(request)
    rounds = rounds_of_events(await read_events(backend_of(request), job))
    if not rounds:
        rounds = rounds_of_report(await _report(request, job))
    return JSONResponse({"charts": [dataclasses.asdict(chart) for chart in charts_of(rounds)]})


async def _report(request: Request, job: Job) -> dict[str, Any]:
    """The report of the bundle, empty where there is none."""
    if job.state is not JobState.SUCCEEDED or job.result is None:
        return {}
    artifacts, readings = backend_of(request).artifacts, readings_of(request)
    return await asyncio.to_thread(lambda: readings.bundle_json(job, artifacts.manifest(job), "report.json")) or {}


def _explained(request: Request, job: Job) -> Explained | None:
    if not has_weights(job):
        return None
    artifacts = backend_of(request).artifacts
    try:
        found = artifacts.evidence(artifacts.manifest(job))
    except FailedPreconditionError:
        return None  # a worker of an older version paused it
    return None if found is None else readings_of(request).explained(found[1])


def live(job: Job) -> str:
    """The part of the page that moves while the job does."""
    return fragment("_live.html", job=job, elapsed=elapsed_s(job), remaining=remaining_s(job))


async def read_events(backend: Backend, job: Job) -> list[JobEvent]:
    """All events of a job."""
    found: list[JobEvent] = []
    while True:
        after = found[-1].sequence if found else 0
        events = await backend.queue.events(job.tenant, job.id, after_sequence=after, limit=_EVENTS)
        found += events
        if len(events) < _EVENTS:
            return found
