"""The students: their files, the proof that comes with them, and the lines that devices follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kdaif.errors import NotFoundError
from kdaif.records import JobState
from kdaif.records.lines import LineRevision
from kdaif.store import layout
from kdaif_server.dashboard.asked import backend_of, job_of, lines_of, number_of, readings_of
from kdaif_server.dashboard.pages.jobs import PAGE_SIZE, outcome
from kdaif_server.dashboard.rendering import render

_AXES = ("sustainability", "accuracy", "fairness", "explainability", "composite")
_MOST_LINES = 200
_SUCCEEDED = frozenset({JobState.SUCCEEDED})


async def index(request: Request) -> Response:
    """Students, the newest first."""
    tenant, cursor = request.path_params["tenant"], request.query_params.get("cursor", "")
    jobs, following = await backend_of(request).queue.list(tenant, limit=PAGE_SIZE, cursor=cursor, states=_SUCCEEDED)
    students = [{"job": job, **outcome(job)} for job in jobs]
    lines = [] if cursor else await _lines(request, tenant)
    return render(request, "students.html", students=students, following=following, cursor=cursor, lines=lines)


async def show(request: Request) -> Response:
    """One student."""
    backend, readings, given = backend_of(request), readings_of(request), await job_of(request)
    job = await backend.artifacts.succeeded_job(given.tenant, given.id)

    in_lines = [
        (name, "champion" if now.line.champion == job.id else "canary")
        for name, now in await _lines(request, job.tenant)
        if job.id == now.line.champion or (now.line.canary is not None and now.line.canary.student == job.id)
    ]

    def read() -> dict[str, Any]:
        manifest = backend.artifacts.manifest(job)
        report = readings.bundle_json(job, manifest, "report.json") or {}
        scorecard = report.get("scorecard") or readings.bundle_json(job, manifest, "scorecard.json")
        return {
            "manifest": manifest,
            "certificate": readings.bundle_json(job, manifest, "certificate.json"),
            "scorecard": scorecard if isinstance(scorecard, dict) else None,
            "axes": _AXES,
        }

    return render(request, "student.html", job=job, in_lines=in_lines, **outcome(job), **await asyncio.to_thread(read))


async def line(request: Request) -> Response:
    """One line of students, and its changes, newest first."""
    tenant, name = request.path_params["tenant"], request.path_params["line"]
    lines = lines_of(request)
    now = await lines.newest(tenant, name)
    before = number_of(request, "before", 0)
    revisions = await lines.revisions(tenant, name, before=before or None, limit=PAGE_SIZE)
    oldest = revisions[-1].revision if revisions else 1
    return render(request, "line.html", name=name, now=now, revisions=revisions, oldest=oldest, before=before)


async def _lines(request: Request, tenant: str) -> list[tuple[str, LineRevision]]:
    lines = lines_of(request)
    names = await asyncio.to_thread(lines.store.names, tenant)
    return [(name, await lines.get(tenant, name)) for name in names[:_MOST_LINES]]


async def download(request: Request) -> Response:
    """One file of the bundle, to be saved: what a job wrote is never shown as a page of ours."""
    backend, given = backend_of(request), await job_of(request)
    job = await backend.artifacts.succeeded_job(given.tenant, given.id)
    manifest = await asyncio.to_thread(backend.artifacts.manifest, job)
    path = request.path_params["file"]
    sizes = {file.path: file.size_bytes for file in manifest.bundle}
    if path not in sizes:
        raise NotFoundError(f"No such file in this bundle; it holds {', '.join(sorted(sizes))}.")
    chunks = backend.artifacts.blobs.iter_range(layout.bundle_file(job.tenant, job.id, manifest.attempt, path))

    async def body() -> AsyncIterator[bytes]:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield chunk

    name = path.rpartition("/")[2]  # of letters, digits, dots, hyphens and underscores: the layout checked it
    headers = {"content-disposition": f'attachment; filename="{name}"', "content-length": str(sizes[path])}
    return StreamingResponse(body(), media_type="application/octet-stream", headers=headers)
