"""A person's decisions on single samples, put into the rows and targets of an attempt."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.errors import AlreadyExistsError, InvalidDataError
from kdaif.records.overrides import Override, OverrideRevision, in_force
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, layout
from kdaif.store.overrides import read_overrides
from kdaif.teachers import SoftTargets
from kdaif.top_classes import TopClasses
from kdaif_worker.messages import Assignment

INHERITED = 0
"""The number of the revision that a re-run begins with: what was in force where it comes from."""

# Of a class that a person named. Short of 1, so that its logarithm and those of the others are finite.
_SURE = 0.99


def decisions_of(assignment: Assignment, blobs: BlobStore) -> dict[str, Override]:
    """What is in force for the job, by sample; see `revisions_of`."""
    return in_force(revisions_of(assignment, blobs))


def revisions_of(assignment: Assignment, blobs: BlobStore) -> list[OverrideRevision]:
    """What was decided for the job: what it inherits from the job it re-runs, then its own revisions, made in a review.

    The inherited decisions are kept as the job's own revision 0, so that they hold for a re-run of it too.
    """
    job, given = (assignment.tenant, assignment.job_id), assignment.spec.overrides
    if given is not None:
        former = in_force(read_overrides(blobs, assignment.tenant, given.job, up_to=given.revision))
        told = f"inherited from job {given.job}, revision {given.revision}"
        now_ms = int(time.time() * 1000)
        revision = OverrideRevision(INHERITED, "kdaif", told, now_ms, tuple(former.values()))
        with contextlib.suppress(AlreadyExistsError):  # a former attempt
            blobs.put_bytes(layout.override_revision(*job, INHERITED), revision.to_json())
    return read_overrides(blobs, *job)


def with_weights(data: DistillationData, decisions: Mapping[str, Override]) -> DistillationData:
    """The rows of U with the weights of pinned and banned samples, and 1 for relabelled ones: a label is not doubted.

    Decisions on samples that U does not hold have no effect: a re-run may be on fewer rows.
    """
    places, chosen = _places(data, decisions)
    if not chosen:
        return data
    former = data.unlabeled.weight_override
    weights = np.full(len(data.unlabeled), np.nan) if former is None else former.copy()
    weights[places] = [_weight(override) for override in chosen]
    return dataclasses.replace(data, unlabeled=dataclasses.replace(data.unlabeled, weight_override=weights))


def with_labels(
    targets: SoftTargets, data: DistillationData, decisions: Mapping[str, Override], scratch: Scratch
) -> SoftTargets:
    """The teacher's outputs, but for relabelled samples the logarithm of 0.99 for the class that a person named.

    Raises:
        InvalidDataError: a class that the job does not have.
    """
    relabelled = {key: override for key, override in decisions.items() if override.decision == "relabel"}
    places, chosen = _places(data, relabelled)
    if not chosen:
        return targets
    codes = {name: code for code, name in enumerate(data.class_names)}
    if unknown := sorted({str(each.class_name) for each in chosen} - set(codes)):
        raise InvalidDataError(
            f"samples were relabelled as {', '.join(unknown[:10])}, which this job has no class for; it has "
            f"{', '.join(data.class_names[:20])}. Clear these decisions, or give class_names"
        )
    rest = np.float32(np.log((1 - _SURE) / max(1, targets.logits.shape[1] - 1)))
    if isinstance(targets.logits, TopClasses):
        kept = targets.logits.copy(scratch)
        for place, override in zip(places.tolist(), chosen, strict=True):
            kept.say(place, codes[str(override.class_name)], math.log(_SURE), float(rest))
        return dataclasses.replace(targets, logits=kept)
    logits = scratch.empty(targets.logits.shape, np.float32)
    for rows in scratch.slabs(len(logits), 8 * logits.shape[1]):
        logits[rows] = targets.logits[rows]
    for place, override in zip(places.tolist(), chosen, strict=True):
        logits[place] = rest
        logits[place, codes[str(override.class_name)]] = np.float32(np.log(_SURE))
    return dataclasses.replace(targets, logits=logits)


def _places(data: DistillationData, decisions: Mapping[str, Override]) -> tuple[NDArray[np.int64], list[Override]]:
    """Row numbers of the decided samples that U holds, int64, and their decisions."""
    if not decisions:
        return np.empty(0, dtype=np.int64), []
    ids = pa.array(data.unlabeled.ids)
    keys = list(decisions)
    numbers = pa.types.is_integer(ids.type)
    wanted = [key for key in keys if not numbers or key.removeprefix("-").isdecimal()]
    value_set = pa.array([int(key) for key in wanted] if numbers else wanted, ids.type)
    positions = pc.index_in(ids, value_set=value_set)
    places = np.flatnonzero(np.asarray(positions.is_valid()))
    found = positions.drop_null().to_pylist()
    return places.astype(np.int64), [decisions[wanted[position]] for position in found]


def _weight(override: Override) -> float:
    match override.decision:
        case "ban":
            return 0.0
        case "pin":
            return float(override.weight or 0.0)
        case _:
            return 1.0
