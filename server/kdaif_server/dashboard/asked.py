"""What a request asks for, checked."""

from __future__ import annotations

from starlette.requests import Request

from kdaif.errors import InvalidInputError, NotFoundError
from kdaif.records import Job, JobState
from kdaif_server.backend import Backend
from kdaif_server.dashboard.readings import Readings
from kdaif_server.lines import Lines


def backend_of(request: Request) -> Backend:
    """What the dashboard stands on."""
    found: Backend = request.app.state.backend
    return found


def readings_of(request: Request) -> Readings:
    """What was read before."""
    found: Readings = request.app.state.readings
    return found


def lines_of(request: Request) -> Lines:
    """The lines of students."""
    found: Lines = request.app.state.lines
    return found


async def job_of(request: Request) -> Job:
    """The job of the path. Raises NotFoundError."""
    tenant, job_id = request.path_params["tenant"], request.path_params["job"]
    try:
        return await backend_of(request).queue.get(tenant, job_id)
    except InvalidInputError as error:
        raise NotFoundError(str(error)) from error


def has_weights(job: Job) -> bool:
    """Whether its weights can be read."""
    return job.state is JobState.AWAITING_REVIEW or (job.state is JobState.SUCCEEDED and job.result is not None)


def number_of(request: Request, name: str, default: int, *, least: int = 0, most: int = 10**9) -> int:
    """A whole number of the query. Raises InvalidInputError."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > 12 or not least <= int(text) <= most:
        raise InvalidInputError.of(name, f"is {text[:40]!r}; give a whole number from {least} to {most:,}")
    return int(text)
