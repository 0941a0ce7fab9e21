"""Which page answers where, and what an error looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from kdaif import errors
from kdaif_server.access.authentication import Authentication
from kdaif_server.access.caller import current
from kdaif_server.backend import Backend
from kdaif_server.dashboard.guard import Guard, Tokens, read_form
from kdaif_server.dashboard.login import Login
from kdaif_server.dashboard.pages import actions, audit, compare, job, jobs, sample, samples, streams, students, weights
from kdaif_server.dashboard.readings import Readings
from kdaif_server.dashboard.rendering import path_of, render
from kdaif_server.lines import Lines

_STATIC = Path(__file__).parent / "static"
_STATUSES: dict[type[errors.KdaifError], int] = {
    errors.InvalidInputError: 400,
    errors.NotFoundError: 404,
    errors.AlreadyExistsError: 409,
    errors.FailedPreconditionError: 409,
    errors.UnavailableError: 503,
}
_TITLES = {
    400: "This cannot be read",
    403: "Not from this page",
    404: "Nothing here",
    405: "Not this way",
    409: "Not in this state",
    503: "Not now",
}
_log = structlog.get_logger("kdaif.dashboard")

FormHandler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]


def make_app(backend: Backend, authentication: Authentication | None = None) -> ASGIApp:
    """The dashboard over a backend. The guard stands outside, so that no answer of any kind passes it by.

    Without ``authentication`` nobody is asked who they are.
    """
    of_job = "/tenants/{tenant}/jobs/{job}"
    app = Starlette(
        routes=[
            Route("/", _home),
            Route("/tenants/{tenant}", _home),
            Route("/tenants/{tenant}/jobs", jobs.show),
            Route("/tenants/{tenant}/events", streams.of_tenant),
            Route(of_job, job.show),
            Route(f"{of_job}/events", streams.of_job),
            Route(f"{of_job}/curves.json", job.curves),
            Route(f"{of_job}/weights", weights.show),
            Route(f"{of_job}/weights.json", weights.quantiles),
            Route(f"{of_job}/samples", samples.show),
            Route(f"{of_job}/sample", sample.show),
            Route(f"{of_job}/overrides", sample.record),
            Route(f"{of_job}/compare", compare.show),
            Route("/tenants/{tenant}/students", students.index),
            Route("/tenants/{tenant}/lines/{line}", students.line),
            Route("/tenants/{tenant}/audit", audit.show),
            Route("/tenants/{tenant}/students/{job}", students.show),
            Route("/tenants/{tenant}/students/{job}/files/{file:path}", students.download),
            _form(f"{of_job}/cancel", actions.cancel),
            _form(f"{of_job}/retry", actions.retry),
            _form(f"{of_job}/resume", actions.resume),
            _form(f"{of_job}/reject", actions.reject),
            _form(f"{of_job}/decide", actions.decide),
            _form(f"{of_job}/rerun", actions.rerun),
            Mount("/static", _Static(directory=_STATIC)),
        ],
        exception_handlers={errors.KdaifError: _refused, HTTPException: _refused_http, Exception: _broken},
    )
    app.state.backend = backend
    app.state.readings = Readings(backend)
    app.state.lines = Lines(backend.artifacts)
    app.state.tokens = Tokens()
    return Guard(app if authentication is None else Login(app, authentication))


class _Static(StaticFiles):
    """Files of this package, asked for anew each time: they change with the version."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["cache-control"] = "no-cache"
        return answer


def _form(path: str, handler: FormHandler) -> Route:
    """A route for a form. Every change goes through here, and so through the checks of where it came from."""

    async def checked(request: Request) -> Response:
        return await handler(request, await read_form(request, request.app.state.tokens))

    return Route(path, checked, methods=["POST"], name=f"form {path}")


async def _home(request: Request) -> Response:
    caller = current()
    usual = "default" if caller is None else caller.tenant
    tenant = request.path_params.get("tenant") or request.query_params.get("tenant", "").strip() or usual
    return RedirectResponse(path_of(tenant, "jobs"), 303)


async def _refused(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 500)
    if status == 500:
        _log.error("stored data cannot be read", path=request.url.path, error=str(error))
    return _page(request, status, str(error))


async def _refused_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else ""
    return _page(request, status, "There is no page of this address." if status == 404 else said)


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("unexpected error", path=request.url.path, exc_info=error)
    return _page(request, 500, "An internal error; the server's log has the details.")


def _page(request: Request, status: int, message: str) -> Response:
    return render(request, "error.html", status=status, title=_TITLES.get(status, "Something broke"), message=message)
