"""Server-sent events: pieces of pages, made here, put in place by the browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kdaif.errors import KdaifError, UnavailableError
from kdaif_server.backend import Backend
from kdaif_server.dashboard.asked import backend_of, job_of, number_of
from kdaif_server.dashboard.pages.job import live
from kdaif_server.dashboard.pages.jobs import PAGE_SIZE, job_row
from kdaif_server.following import follow

_LOOK_S = 1.0
_QUIET_LOOKS = 15  # a comment after so many, or whatever stands between would take the stream for dead
_RETRY_MS = 2000
_log = structlog.get_logger("kdaif.dashboard")


async def of_job(request: Request) -> Response:
    """What happens to a job from the event ``after`` on: ``live`` pieces, ``round`` and at last ``changed``."""
    job = await job_of(request)
    resumed = request.headers.get("last-event-id", "")
    after = int(resumed) if resumed.isdecimal() else number_of(request, "after", 0)
    return _stream(_job_events(backend_of(request), job.tenant, job.id, after, request.query_params.get("state", "")))


async def of_tenant(request: Request) -> Response:
    """The first page of jobs, each whenever it looks different from before: ``row`` events."""
    return _stream(_rows(backend_of(request), request.path_params["tenant"]))


async def _job_events(backend: Backend, tenant: str, job_id: str, after: int, shown: str) -> AsyncIterator[str]:
    async for event in follow(backend.queue, tenant, job_id, after, backend.stopping):
        job = await backend.queue.get(tenant, job_id)
        yield _message("live", live(job), event.sequence)
        if event.kind == "round":
            yield _message("round", "", event.sequence)
        if job.state != shown:
            yield _message("changed", str(job.state), event.sequence)
            shown = str(job.state)


async def _rows(backend: Backend, tenant: str) -> AsyncIterator[str]:
    seen: dict[str, str] = {}
    looks = 0
    while not backend.stopping.is_set():
        jobs, _ = await backend.queue.list(tenant, limit=PAGE_SIZE)
        for job in reversed(jobs):  # the newest last, so that it ends up on top
            row = job_row(job)
            if seen.get(job.id) != row:
                seen[job.id] = row
                yield _message("row", json.dumps({"id": f"job-{job.id}", "html": row}))
        looks += 1
        if looks % _QUIET_LOOKS == 0:
            yield ": still here\n\n"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(backend.stopping.wait(), _LOOK_S)


def _stream(messages: AsyncIterator[str]) -> Response:
    return StreamingResponse(_guarded(messages), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _guarded(messages: AsyncIterator[str]) -> AsyncIterator[str]:
    """Ends a stream in order when its source fails: the browser comes back by itself."""
    yield f"retry: {_RETRY_MS}\n\n"
    try:
        async for message in messages:
            yield message
    except UnavailableError:
        return
    except KdaifError as error:
        _log.warning("a live view ended", error=str(error))


def _message(name: str, data: str, sequence: int | None = None) -> str:
    lines = "".join(f"data: {line}\n" for line in (data.splitlines() or [""]))
    number = "" if sequence is None else f"id: {sequence}\n"
    return f"{number}event: {name}\n{lines}\n"
