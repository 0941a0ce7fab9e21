"""How far the parts of a job's data lie apart, in inputs and in classes, against what chance alone would give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.records import Shift
from kdaif.scratch import Scratch

_ROWS_AT_ONCE = 4096
# Times the mean of chance: two standard errors of a single input, and so on the safe side for many correlated ones.
_MORE_THAN_CHANCE = 2.5
# Cohen's small and medium effects for means; for class shares a twentieth and a fifth of the rows.
_SMALL = {"features": 0.2, "classes": 0.05}
_LARGE = {"features": 0.5, "classes": 0.2}


@dataclass(frozen=True, eq=False)
class Sample:
    """One part: raw inputs ``[N, ...]`` and class codes int ``[N]``, N above 0."""

    features: NDArray[Any]
    codes: NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class _Moments:
    """N, mean and variance of every input, float64 ``[D]``, and the share of every class, float64 ``[C]``."""

    rows: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    shares: NDArray[np.float64]


def distribution_shifts(
    parts: Mapping[str, Sample], n_classes: int, scratch: Scratch | None = None
) -> tuple[Shift, ...]:
    """Every pair of parts.

    Inputs (columns, or pixels and channels): the mean over them of ``|m1 - m2| / s``, where ``s^2`` is the variance of
    an even mixture of the two parts, ``(v1 + v2) / 2 + (m1 - m2)^2 / 4``. For small differences this is the
    standardised mean difference (Cohen's d, Austin 2009); it stays finite, at most 2, where an input is constant within
    each part. An input that is constant in both together counts as 0. Means alone are compared: parts may differ in
    spread or shape and show nothing here.

    Classes: the total variation distance ``sum |p - q| / 2``, the share of rows whose class would have to change.

    By chance: the mean of each figure for two samples of these sizes from one distribution, by the normal
    approximation, ``E|z| = sqrt(2 / pi)`` standard errors.

    Args:
        parts: by name, at least two for an answer of any length.
        n_classes: C.
        scratch: of the inputs; None where they are in memory.
    """
    room = Scratch() if scratch is None else scratch
    moments = {name: _moments(part, n_classes, room) for name, part in parts.items()}
    return tuple(_shift(first, second, moments) for first, second in combinations(moments, 2))


def _moments(part: Sample, n_classes: int, scratch: Scratch) -> _Moments:
    rows = part.features.reshape(len(part.features), -1)

    def batches() -> Iterator[NDArray[Any]]:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            yield rows[start : start + _ROWS_AT_ONCE]
            scratch.release()

    mean = sum((batch.sum(axis=0, dtype=np.float64) for batch in batches()), np.zeros(rows.shape[1])) / len(rows)
    squares = sum(((batch - mean) ** 2).sum(axis=0) for batch in batches())
    counts = np.zeros(n_classes)
    for some in scratch.slabs(len(part.codes), part.codes.itemsize):
        counts += np.bincount(part.codes[some], minlength=n_classes)
    shares = counts / len(rows)
    return _Moments(len(rows), mean, np.asarray(squares / len(rows)), shares)


def _shift(first: str, second: str, moments: Mapping[str, _Moments]) -> Shift:
    one, two = moments[first], moments[second]
    apart = np.abs(one.mean - two.mean)
    spread = np.sqrt((one.variance + two.variance) / 2 + apart**2 / 4)
    varies = spread > 0
    features = float(np.mean(np.divide(apart, spread, out=np.zeros_like(apart), where=varies)))
    scale = np.sqrt(2 / np.pi * (1 / one.rows + 1 / two.rows))
    pooled = (one.rows * one.shares + two.rows * two.shares) / (one.rows + two.rows)
    classes = float(np.abs(one.shares - two.shares).sum() / 2)
    features_by_chance = float(scale * varies.mean())
    classes_by_chance = float(scale * np.sqrt(pooled * (1 - pooled)).sum() / 2)
    words = f"{_words('features', features, features_by_chance)}; {_words('classes', classes, classes_by_chance)}"
    return Shift(first, second, features, features_by_chance, classes, classes_by_chance, words)


def _words(what: str, distance: float, by_chance: float) -> str:
    name = {"features": "inputs", "classes": "classes"}[what]
    if distance <= _MORE_THAN_CHANCE * by_chance:
        return f"{name} alike, within chance"
    if distance < _SMALL[what]:
        return f"{name} a little apart"
    return f"{name} apart" if distance < _LARGE[what] else f"{name} far apart"
