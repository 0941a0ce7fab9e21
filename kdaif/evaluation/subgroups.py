"""Groups: what they weigh, and how well the student does on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdaif.evaluation.classes import wilson_interval
from kdaif.records.monitoring import GroupAccuracy, GroupWeight, Monitoring

_Z = 1.959964  # of 95 %
MOST_GROUPS = 100  # of a column; the largest ones


def group_weights(
    weights: NDArray[np.floating[Any]],
    groups: Mapping[str, NDArray[Any]],
    monitoring: Monitoring,
    *,
    teacher_wrong: NDArray[np.bool_] | None = None,
    validation_groups: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[GroupWeight, ...]:
    """Mean weight of every group with a normal interval, and beside it how often the teacher is wrong there.

    Args:
        weights: `[N]`, mean 1.
        groups: names by column, object `[N]`, None where a row has none.
        monitoring: floor and smallest group.
        teacher_wrong: bool `[M]`, of the rows of V; None where the teacher was not asked about them.
        validation_groups: of V, by column, object `[M]`.
    """
    found = []
    for column, name, chosen in _groups(groups):
        own = weights[chosen].astype(np.float64)
        rows, mean = len(own), float(own.mean())
        half = _Z * float(own.std(ddof=1)) / rows**0.5 if rows > 1 else 0.0
        verdict: Literal["ok", "low", "few"] = "low" if mean + half < monitoring.group_floor else "ok"
        if rows < monitoring.fewest_group_rows:
            verdict = "few"
        error, elsewhere = None, None
        if teacher_wrong is not None and validation_groups is not None and column in validation_groups:
            here = validation_groups[column] == name
            if here.any() and not here.all():
                error, elsewhere = float(teacher_wrong[here].mean()), float(teacher_wrong[~here].mean())
        found.append(GroupWeight(column, name, rows, mean, mean - half, mean + half, verdict, error, elsewhere))
    return tuple(found)


def group_accuracies(
    labels: NDArray[np.integer[Any]],
    groups: Mapping[str, NDArray[Any]],
    shipped: NDArray[Any],
    uniform: NDArray[Any] | None,
) -> tuple[GroupAccuracy, ...]:
    """Accuracy on every group's test rows, with 95 % Wilson intervals.

    Args:
        labels: of the test rows, int `[N]`.
        groups: names by column, object `[N]`.
        shipped: logits of the shipped student, `[N, C]`.
        uniform: of the uniform arm's; None where it was not trained.
    """
    right = shipped.argmax(axis=1) == labels
    right_of_uniform = None if uniform is None else uniform.argmax(axis=1) == labels
    found = []
    for column, name, chosen in _groups(groups):
        rows = int(chosen.sum())
        low, high = wilson_interval(float(right[chosen].sum()), rows)
        other, other_low = None, None
        if right_of_uniform is not None:
            other = float(right_of_uniform[chosen].mean())
            other_low, _ = wilson_interval(float(right_of_uniform[chosen].sum()), rows)
        found.append(GroupAccuracy(column, name, rows, float(right[chosen].mean()), low, high, other, other_low))
    return tuple(found)


def _groups(groups: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    for column, names in groups.items():
        known = names[np.array([name is not None for name in names], dtype=np.bool_)]
        distinct, counts = np.unique(known.astype(str), return_counts=True)
        for place in np.argsort(-counts, kind="stable")[:MOST_GROUPS]:
            yield column, str(distinct[place]), np.asarray(names == distinct[place], dtype=np.bool_)
