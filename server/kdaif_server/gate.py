"""The promotion gate: the predictions of two students on the same test rows, fetched and lined up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.errors import FailedPreconditionError, NotFoundError
from kdaif.records import Job
from kdaif.records.predictions import RowPredictions
from kdaif.rollout import MARGIN, GateResult, compare
from kdaif.store import BlobStore, layout

_FIXES = "Force it to go on all the same, which is recorded, or allow a larger margin."
_NO_COMPARISON = "Force it to go on without a comparison, which is recorded."


@dataclass(frozen=True)
class GateTerms:
    """What a candidate may lose in accuracy, 0 to 1, on all rows and in its worst group; ``force`` passes anyhow."""

    margin: float = MARGIN
    group_margin: float | None = None
    force: bool = False


@dataclass(frozen=True)
class Passed:
    """What the gate found, and whether only force opened it."""

    sentence: str = ""
    forced: bool = False


def read_predictions(blobs: BlobStore, tenant: str, job: Job) -> RowPredictions | None:
    """What the student of a succeeded job says of each test row; None where its worker did not keep it."""
    if job.result is None:
        return None
    try:
        data = blobs.get_bytes(layout.test_predictions(tenant, job.id, job.result.attempt))
        return RowPredictions.from_parquet(data)
    except (NotFoundError, KeyError, ValueError, pa.ArrowException):
        return None


def pass_gate(blobs: BlobStore, champion: Job, candidate: Job, terms: GateTerms) -> Passed:
    """Lets the candidate through, or raises.

    Raises:
        FailedPreconditionError: it is or may be worse by more than the margin, or nothing can be compared; says what to
            do.
        UnavailableError: the store does not answer.
    """
    found = _compare(blobs, champion, candidate, terms)
    if found.passed:
        return Passed(found.sentence)
    if terms.force:
        return Passed(found.sentence, forced=True)
    raise FailedPreconditionError(found.sentence)


def _compare(blobs: BlobStore, champion: Job, candidate: Job, terms: GateTerms) -> GateResult:
    theirs = read_predictions(blobs, champion.tenant, champion)
    ours = read_predictions(blobs, candidate.tenant, candidate)
    missing = [job.id for job, found in ((champion, theirs), (candidate, ours)) if found is None]
    if theirs is None or ours is None:
        return GateResult(
            False,
            f"Not compared: what {' and '.join(missing)} said of each test row was not kept (jobs of earlier versions "
            f"did not keep it). {_NO_COMPARISON}",
        )
    rows, of_theirs, of_ours = np.intersect1d(theirs.rows, ours.rows, assume_unique=True, return_indices=True)
    if not len(rows) or len(rows) != len(theirs.rows) or len(rows) != len(ours.rows):
        return GateResult(
            False,
            f"Not compared: the champion was tested on {len(theirs.rows):,} rows and the candidate on "
            f"{len(ours.rows):,}, of which {len(rows):,} are the same. Give both jobs the same data set as `test`. "
            f"{_NO_COMPARISON}",
        )
    if changed := int((_names(theirs, of_theirs) != _names(ours, of_ours)).sum()):
        return GateResult(
            False,
            f"Not compared: {changed:,} of the {len(rows):,} test rows have another label in the candidate's job. "
            f"{_NO_COMPARISON}",
        )
    result = compare(
        theirs.right[of_theirs],
        ours.right[of_ours],
        {name: values[of_ours] for name, values in ours.groups.items() if name in theirs.groups},
        margin=terms.margin,
        group_margin=terms.group_margin,
    )
    return result if result.passed else GateResult(False, f"{result.sentence} {_FIXES}")


def _names(predictions: RowPredictions, places: NDArray[Any]) -> NDArray[Any]:
    """Labels by name: two jobs may number the same classes differently."""
    names: NDArray[Any] = np.array(predictions.class_names)[predictions.labels[places]]
    return names
