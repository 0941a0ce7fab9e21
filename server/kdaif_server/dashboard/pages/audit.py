"""The log of what people decided."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from kdaif.records.audit import AuditEntry, sha256_of
from kdaif_server.dashboard.asked import backend_of, number_of
from kdaif_server.dashboard.rendering import render

_PAGE_SIZE = 50


async def show(request: Request) -> Response:
    """A page of entries, newest first."""
    tenant, before = request.path_params["tenant"], number_of(request, "before", 0)
    log = backend_of(request).artifacts.audit
    found = await asyncio.to_thread(lambda: log.records(tenant, before=before or None, limit=_PAGE_SIZE))
    entries = [(number, _entry(record), sha256_of(record)) for number, record in found]
    oldest = found[-1][0] if found else 1
    return render(request, "audit.html", entries=entries, oldest=oldest, before=before)


def _entry(record: bytes) -> AuditEntry | None:
    """None for what somebody made unreadable."""
    try:
        return AuditEntry.from_json(record)
    except ValidationError:
        return None
