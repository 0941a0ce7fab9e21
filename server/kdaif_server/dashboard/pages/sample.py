"""One sample: what it is, why it weighs what it weighs, and a person's word on it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kdaif.errors import KdaifError, NotFoundError
from kdaif.records import Job
from kdaif.records.overrides import in_force
from kdaif.records.provenance import Provenance
from kdaif.store.overrides import read_overrides
from kdaif_server.dashboard.asked import backend_of, has_weights, job_of, readings_of
from kdaif_server.dashboard.pages.samples import with_text_ids
from kdaif_server.dashboard.rendering import render
from kdaif_server.dashboard.rows import Row
from kdaif_server.weights.explained import NEARLY_THE_SAME, explained_samples

_NORMAL_AS_LOGISTIC = 1.702


async def show(request: Request) -> Response:
    """The page of the sample ``id``."""
    job = await job_of(request)
    if not has_weights(job):
        return render(request, "samples.html", job=job, asked=None)
    return await page(request, job, request.query_params.get("id", ""))


async def page(
    request: Request,
    job: Job,
    sample: str,
    *,
    status: int = 200,
    form: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """The page of a sample, with what was wrong with the form on it."""
    if not sample:
        raise NotFoundError("No sample is named. Choose one from the list of samples.")
    found = await asyncio.to_thread(_find, request, job, sample)
    return render(request, "sample.html", status=status, job=job, form=form or {}, wrong=wrong or {}, **found)


async def record(request: Request) -> Response:
    """Every decision on the samples of a job, the latest first."""
    job = await job_of(request)
    blobs = backend_of(request).artifacts.blobs
    revisions = await asyncio.to_thread(read_overrides, blobs, job.tenant, job.id)
    return render(request, "overrides.html", job=job, revisions=revisions[::-1], held=in_force(revisions))


def _find(request: Request, job: Job, sample: str) -> dict[str, Any]:
    artifacts = backend_of(request).artifacts
    manifest = artifacts.manifest(job)
    history = [(number, with_text_ids(rows)[0]) for number, rows in artifacts.history(manifest, [sample])]
    row = history[-1][1]
    made_by = Provenance.from_metadata(artifacts.weights(manifest, 0)[1].schema.metadata)
    revisions = read_overrides(artifacts.blobs, job.tenant, job.id)
    shown, unshown = _shown(request, job, row["id"])
    explained, _, search = explained_samples(artifacts, manifest, [row["id"]])
    return {
        "evidence": explained[0] if explained else None,
        "search": search,
        "near": NEARLY_THE_SAME,
        "row": row,
        "history": history,
        "class_names": manifest.class_names,
        "shown": shown,
        "unshown": unshown,
        "held": in_force(revisions).get(row["id"]),
        "entries": [
            (revision, override)
            for revision in reversed(revisions)
            for override in revision.overrides
            if override.id == row["id"]
        ],
        "helps": _expit(row["z_influence"], _NORMAL_AS_LOGISTIC * job.spec.weighting.sharpness),
        "trust": None if made_by is None else made_by.teacher_trust,
        "believed": _expit(row["z_agreement"], job.spec.weighting.sharpness),
        "groups": {name: value for name, value in row.items() if name.startswith("group_")},
    }


def _shown(request: Request, job: Job, sample: str) -> tuple[Row | None, str]:
    try:
        return readings_of(request).rows(job, [sample]).get(sample), ""
    except KdaifError as error:
        return None, str(error)


def _expit(z: float | None, slope: float) -> float | None:
    """The factor that `kdaif.weighting` makes of a z value, 0 to 1."""
    if z is None or not math.isfinite(z):
        return None
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, slope * z))))
