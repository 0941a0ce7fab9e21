"""From a template and values to a page."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

from kdaif.presentation import environment, numerals
from kdaif.records import JobState
from kdaif_server.dashboard import drawings
from kdaif_server.dashboard.guard import Tokens

STATE_WORDS = {
    JobState.QUEUED: "Queued",
    JobState.RUNNING: "Running",
    JobState.CANCELLING: "Cancelling",
    JobState.AWAITING_REVIEW: "Awaiting review",
    JobState.SUCCEEDED: "Succeeded",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
    JobState.DEAD: "Out of attempts",
}


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Of the dashboard's pages."""
    found = environment("kdaif_server.dashboard", "templates")
    found.filters |= {
        "bytes": byte_size,
        "time": time_of,
        "iso": iso_time,
        "state": lambda state: STATE_WORDS.get(state, str(state)),
        "headline": headline,
        "influence": influence,
        "rough": rough,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
    }
    found.globals |= {"path": path_of, "draw": drawings, "version": version("kdaif-server")}
    return found


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page. Templates get ``csrf(path)``, ``tenant`` and ``here`` besides."""
    tokens: Tokens = request.app.state.tokens
    given = {"tenant": request.path_params.get("tenant", "default"), "here": request.url.path, "csrf": tokens.of}
    return HTMLResponse(templates().get_template(template).render(given | values), status)


def fragment(template: str, **values: Any) -> str:
    """A piece of a page."""
    return templates().get_template(template).render(values)


def path_of(*parts: str, **query: Any) -> str:
    """A path below the tenants, such as ``path("default", "jobs", id)``, and the query's values that are not empty."""
    path = "/tenants/" + "/".join(quote(str(part), safe="") for part in parts)
    asked = urlencode({name: value for name, value in query.items() if value not in ("", None)})
    return f"{path}?{asked}" if asked else path


def headline(verdict: str) -> tuple[str, str]:
    """What stands before the first colon, and the rest as a sentence."""
    first, _, rest = verdict.partition(": ")
    return first, rest[:1].upper() + rest[1:]


def influence(value: float | None) -> str:
    """Two digits with the sign, which says whether the row helps."""
    sign = "" if not value else "+" if value > 0 else "−"
    return sign + numerals.size(value)


def rough(seconds: float | None) -> str:
    """A duration that is a guess, no finer than it can be known."""
    if seconds is None:
        return numerals.NONE
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes}\u00a0min" if minutes < 60 else f"{minutes // 60}\u00a0h {minutes % 60}\u00a0min"


def time_of(time_ms: int | None) -> str:
    """In UTC, to the minute."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC") if time_ms else numerals.NONE


def iso_time(time_ms: int | None) -> str:
    """For a ``datetime`` attribute."""
    return datetime.fromtimestamp((time_ms or 0) / 1000, UTC).isoformat(timespec="seconds")


def byte_size(size: float | None) -> str:
    """Bytes in the unit a person would use."""
    if size is None:
        return numerals.NONE
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{numerals.number(round(size, 1))}\u00a0{unit}"
        size /= 1000
    return f"{numerals.number(round(size, 1))}\u00a0TB"
