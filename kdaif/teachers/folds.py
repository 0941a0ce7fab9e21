"""Folds of L: each row is judged by a teacher that never saw it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import Rows, Strings
from kdaif.datasets.feasible import require_rows_for_folds


def stratified_folds(labels: NDArray[np.int64], folds: int, seed: int, field: str) -> NDArray[np.int64]:
    """int64 ``[N]``: the fold of each row; folds and the classes in them differ by at most one row.

    Args:
        labels: int64 ``[N]``.
        folds: how many, at least 2.
        seed: chooses the rows.
        field: where ``folds`` stands in the request.

    Raises:
        InvalidInputError: fewer than two rows for each fold.
    """
    require_rows_for_folds(len(labels), folds, field)
    shuffled = np.random.default_rng((seed, 6)).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    found = np.empty(len(labels), dtype=np.int64)
    # Dealt out class by class without starting anew, so that small classes do not all go to the first folds.
    found[by_class] = np.arange(len(labels)) % folds
    return found


def taken(rows: Rows, chosen: NDArray[np.bool_]) -> Rows:
    """The rows where ``chosen`` (bool ``[N]``) holds."""

    def some(values: NDArray[Any] | Strings | None) -> Any:
        return None if values is None else values[chosen]

    return dataclasses.replace(
        rows,
        ids=rows.ids[chosen],
        features=rows.features[chosen],
        labels=rows.labels[chosen],
        truth=some(rows.truth),
        teacher_logits=None if rows.teacher_logits is None else rows.teacher_logits[np.flatnonzero(chosen)],
        groups={name: values[chosen] for name, values in rows.groups.items()},
        weight_override=some(rows.weight_override),
        texts=some(rows.texts),
        member_logits={member: values[np.flatnonzero(chosen)] for member, values in rows.member_logits.items()},
    )
