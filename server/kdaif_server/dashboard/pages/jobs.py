"""The jobs of a tenant."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kdaif.errors import InvalidInputError
from kdaif.records import Job, JobState
from kdaif_server.backend import Backend
from kdaif_server.dashboard.asked import backend_of
from kdaif_server.dashboard.rendering import STATE_WORDS, fragment, render
from kdaif_server.dashboard.timing import elapsed_s, remaining_s

PAGE_SIZE = 25


async def show(request: Request) -> Response:
    """A page of jobs, newest first; the first one is live."""
    backend, tenant = backend_of(request), request.path_params["tenant"]
    cursor, chosen = request.query_params.get("cursor", ""), request.query_params.get("state", "")
    jobs, following = await backend.queue.list(tenant, limit=PAGE_SIZE, cursor=cursor, states=_states(chosen))
    return render(
        request,
        "jobs.html",
        jobs=jobs,
        rows=[job_row(job) for job in jobs],
        cursor=cursor,
        following=following,
        chosen=chosen,
        states=STATE_WORDS,
        waiting=any(job.state is JobState.QUEUED for job in jobs),
        workers=await _workers(backend),
    )


def job_row(job: Job) -> str:
    """One job of the list."""
    return fragment("_job_row.html", job=job, elapsed=elapsed_s(job), remaining=remaining_s(job), **outcome(job))


def outcome(job: Job) -> dict[str, Any]:
    """The arm that was shipped, where there is one."""
    arms = job.result.arms if job.result else ()
    name = job.result.shipped_arm if job.result else ""
    return {"shipped": next((arm for arm in arms if arm.arm == name), None)}


def _states(chosen: str) -> frozenset[JobState]:
    if not chosen:
        return frozenset()
    if chosen not in JobState.__members__:
        raise InvalidInputError.of("state", f"is {chosen[:40]!r}; there are {', '.join(JobState)}")
    return frozenset({JobState(chosen)})


async def _workers(backend: Backend) -> tuple[int, int]:
    """Workers that are here, and how many of them are busy."""
    present = [worker for worker in await backend.queue.workers() if worker.is_present]
    return len(present), sum(bool(worker.job_id) for worker in present)
