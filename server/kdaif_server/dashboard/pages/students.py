"""The students: their files, and the proof that comes with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kdaif.errors import NotFoundError
from kdaif.records import JobState
from kdaif.store import layout
from kdaif_server.dashboard.asked import backend_of, job_of, readings_of
from kdaif_server.dashboard.pages.jobs import PAGE_SIZE, outcome
from kdaif_server.dashboard.rendering import render

_AXES = ("sustainability", "accuracy", "fairness", "explainability", "composite")
_SUCCEEDED = frozenset({JobState.SUCCEEDED})


async def index(request: Request) -> Response:
    """Students, the newest first."""
    tenant, cursor = request.path_params["tenant"], request.query_params.get("cursor", "")
    jobs, following = await backend_of(request).queue.list(tenant, limit=PAGE_SIZE, cursor=cursor, states=_SUCCEEDED)
    students = [{"job": job, **outcome(job)} for job in jobs]
    return render(request, "students.html", students=students, following=following, cursor=cursor)


async def show(request: Request) -> Response:
    """One student."""
    backend, readings, given = backend_of(request), readings_of(request), await job_of(request)
    job = await backend.artifacts.succeeded_job(given.tenant, given.id)

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

    return render(request, "student.html", job=job, **outcome(job), **await asyncio.to_thread(read))


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
