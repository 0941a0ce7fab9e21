"""Two jobs side by side."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kdaif.records import ArmResult, Job, JobState
from kdaif_server.dashboard.asked import backend_of, job_of
from kdaif_server.dashboard.rendering import render
from kdaif_server.weights.changes import Changes, weight_changes

_CHOICES = 100
_SAMPLES = 20


async def show(request: Request) -> Response:
    """The comparison of a job with the job ``with``, or the choice of one."""
    first, backend = await job_of(request), backend_of(request)
    others, _ = await backend.queue.list(first.tenant, limit=_CHOICES, states=frozenset({JobState.SUCCEEDED}))
    choices = [other for other in others if other.id != first.id]
    named = request.query_params.get("with", "").strip()
    if first.state is not JobState.SUCCEEDED or not named:
        return render(request, "compare.html", job=first, choices=choices, other=None)
    await backend.artifacts.succeeded_job(first.tenant, first.id)
    second = await backend.artifacts.succeeded_job(first.tenant, named)
    return render(
        request,
        "compare.html",
        job=first,
        choices=choices,
        other=second,
        arms=_arms(first, second),
        differences=_differences(first.spec.model_dump(mode="json"), second.spec.model_dump(mode="json")),
        changes=await asyncio.to_thread(_changes, request, first, second),
    )


def _arms(first: Job, second: Job) -> list[tuple[str, ArmResult | None, ArmResult | None]]:
    """Each arm that either has."""
    one, two = ({arm.arm: arm for arm in job.result.arms} if job.result else {} for job in (first, second))
    return [(name, one.get(name), two.get(name)) for name in dict.fromkeys([*one, *two])]


def _differences(first: Any, second: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The fields of two specs that differ, by path."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            difference
            for name in dict.fromkeys([*first, *second])
            for difference in _differences(first.get(name), second.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if first == second else [(path, first, second)]


def _changes(request: Request, first: Job, second: Job) -> Changes | None:
    """None where one of them weighed nothing."""
    backend = backend_of(request)
    manifests = [backend.artifacts.manifest(job) for job in (first, second)]
    if not all(manifest.weights for manifest in manifests):
        return None
    one, two = (backend.artifacts.weights(manifest, 0)[1] for manifest in manifests)
    return weight_changes(backend.engine, one, two, _SAMPLES)
