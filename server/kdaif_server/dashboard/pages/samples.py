"""The samples of a job: filtered, sorted, page by page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from kdaif.errors import InvalidInputError, KdaifError
from kdaif.records import Job
from kdaif.records.overrides import Override, in_force
from kdaif.store.overrides import read_overrides
from kdaif_server.dashboard.asked import backend_of, has_weights, job_of, number_of, readings_of
from kdaif_server.dashboard.rendering import path_of, render
from kdaif_server.dashboard.rows import Row
from kdaif_server.weights.filters import EVERY_ROW, kinds, parse_filter
from kdaif_server.weights.pages import order_of, read_page

INFLUENCE = "val_loss_change_if_upweighted"
ORDERS = {
    f"{INFLUENCE} desc": "Most harmful first",
    INFLUENCE: "Most helpful first",
    "weight": "Lightest first",
    "weight desc": "Heaviest first",
    "log_odds": "Least believed first",
    "teacher_confidence": "Teacher least sure first",
    "student_confidence": "Student least sure first",
    "distillation_loss desc": "Highest loss first",
    "stderr desc": "Least certain influence first",
    "id": "By id",
}
SIZES = (10, 24, 100)


@dataclass(frozen=True)
class Asked:
    """What the form above the samples says."""

    filter: str
    order: str
    round: int
    size: int
    page: int


@dataclass
class Found:
    """What there is to show.

    Attributes:
        rows: of the weights, as dictionaries.
        total: rows of the whole listing.
        round: whose weights these are, and ``rounds`` the others.
        columns: that can be filtered by, with what they hold.
        shown: rows of the data set by id.
        unshown: why there are none.
        overridden: decisions in force by id.
        wrong: what is wrong with a field, by field.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    round: int = 0
    rounds: list[int] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    shown: dict[str, Row] = field(default_factory=dict)
    unshown: str = ""
    overridden: dict[str, Override] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


async def show(request: Request) -> Response:
    """One page of samples."""
    job = await job_of(request)
    if not has_weights(job):
        return render(request, "samples.html", job=job, asked=None)
    asked = Asked(
        filter=request.query_params.get("filter", ""),
        order=request.query_params.get("order", "") or f"{INFLUENCE} desc",
        round=number_of(request, "round", 0),
        size=number_of(request, "size", SIZES[1], least=1, most=SIZES[-1]),
        page=number_of(request, "page", 1, least=1, most=10**7),
    )
    found = await asyncio.to_thread(_find, request, job, asked)
    last = max(1, -(-found.total // asked.size))

    def page_path(number: int) -> str:
        return path_of(
            job.tenant,
            "jobs",
            job.id,
            "samples",
            filter=asked.filter,
            order=asked.order,
            round=asked.round or "",
            size=asked.size,
            page=number,
        )

    return render(
        request,
        "samples.html",
        status=422 if found.wrong else 200,
        job=job,
        asked=asked,
        found=found,
        orders=ORDERS,
        sizes=SIZES,
        last=last,
        page_path=page_path,
    )


def _find(request: Request, job: Job, asked: Asked) -> Found:
    backend, found = backend_of(request), Found()
    manifest = backend.artifacts.manifest(job)
    found.rounds = sorted(shard.round for shard in manifest.weights)
    if not found.rounds:
        return found
    found.round, shard = backend.artifacts.weights(manifest, asked.round)
    found.columns = dict(kinds(shard.schema))
    condition, order = EVERY_ROW, ""
    try:
        condition = parse_filter(asked.filter, shard.schema)
        order = order_of(asked.order)
    except InvalidInputError as error:
        found.wrong = {each.field: each.description for each in error.violations}
        return found
    offset = (asked.page - 1) * asked.size
    page = read_page(backend.engine, shard, condition, order, offset=offset, limit=asked.size)
    found.rows, found.total = with_text_ids(page.rows), page.total
    found.overridden = in_force(read_overrides(backend.artifacts.blobs, job.tenant, job.id))
    try:
        found.shown = readings_of(request).rows(job, [row["id"] for row in found.rows])
    except KdaifError as error:
        found.unshown = str(error)
    return found


def with_text_ids(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows of a shard as dictionaries, their ids as text."""
    return [row | {"id": str(row["id"])} for row in rows.to_pylist()]
