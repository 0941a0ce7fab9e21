"""The weights of a job at a glance."""

from __future__ import annotations

import asyncio
import dataclasses

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kdaif_server.dashboard.asked import backend_of, has_weights, job_of, number_of, readings_of
from kdaif_server.dashboard.curves import quantile_chart
from kdaif_server.dashboard.rendering import render
from kdaif_server.weights.summary import LOW_WEIGHT, Summary


async def show(request: Request) -> Response:
    """Histogram, classes, groups and provenance of one round."""
    job, wanted = await job_of(request), number_of(request, "round", 0)
    artifacts, readings = backend_of(request).artifacts, readings_of(request)
    if not has_weights(job):
        return render(request, "weights.html", job=job, summary=None)

    def read() -> tuple[list[int], int, Summary | None]:
        manifest = artifacts.manifest(job)
        rounds = sorted(shard.round for shard in manifest.weights)
        if not rounds:
            return rounds, 0, None
        number, shard = artifacts.weights(manifest, wanted)
        return rounds, number, readings.summary(shard)

    rounds, number, summary = await asyncio.to_thread(read)
    columns = {} if summary is None else {column.column: column for column in summary.columns}
    names = () if summary is None else (*summary.classes, *summary.groups)
    return render(
        request,
        "weights.html",
        job=job,
        rounds=rounds,
        round=number,
        summary=summary,
        columns=columns,
        low_weight=LOW_WEIGHT,
        heaviest=max([each.mean_weight for each in names], default=1.0) or 1.0,
    )


async def quantiles(request: Request) -> Response:
    """The spread of the weights over the rounds, as JSON."""
    job = await job_of(request)
    artifacts, readings = backend_of(request).artifacts, readings_of(request)
    if not has_weights(job):
        return JSONResponse({"charts": []})

    def read() -> list[dict[str, object]]:
        manifest = artifacts.manifest(job)
        by_round = {
            number: readings.weight_quantiles(artifacts.weights(manifest, number)[1])
            for number in sorted(shard.round for shard in manifest.weights)
        }
        return [dataclasses.asdict(quantile_chart(by_round))] if by_round else []

    return JSONResponse({"charts": await asyncio.to_thread(read)})
