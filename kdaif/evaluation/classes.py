"""Accuracy class by class, and which class is worst, with the interval that its few rows allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError


@dataclass(frozen=True)
class ClassAccuracy:
    """Share of one class's test rows that are predicted right, mean over seeds; ``low`` to ``high`` is the interval.

    ``accuracy``, ``low`` and ``high`` are None for a class without test rows.
    """

    class_name: str
    rows: int
    accuracy: float | None
    low: float | None
    high: float | None


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share.

    Args:
        successes: how many succeeded; may be a fraction, as a mean over seeds is.
        trials: out of how many, above 0.
        confidence: coverage of the interval.

    Returns:
        Lower and upper bound, each within 0 to 1.

    Raises:
        InvalidInputError: no trials, or more successes than trials.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise InvalidInputError.of("successes", f"0 <= successes <= trials and trials > 0, not {successes} of {trials}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At a share of 0 or 1 the bound is exact in theory and off by rounding in floating point.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def per_class_accuracy(
    labels: NDArray[Any], logits: Sequence[NDArray[Any]], class_names: Sequence[str]
) -> tuple[ClassAccuracy, ...]:
    """Accuracy of one arm on every class.

    The interval treats the test rows as the trials. Seeds share those rows, so more seeds do not narrow it.

    Args:
        labels: int ``[N]``, class codes into ``class_names``.
        logits: one float ``[N, C]`` per seed, at least one.
        class_names: the ``C`` names.

    Returns:
        One figure per class, in the order of ``class_names``, with 95 % Wilson intervals.
    """
    correct = np.mean([np.argmax(seed, axis=1) == labels for seed in logits], axis=0)
    return tuple(_one_class(name, correct[labels == code]) for code, name in enumerate(class_names))


def _one_class(name: str, correct: NDArray[Any]) -> ClassAccuracy:
    if len(correct) == 0:
        return ClassAccuracy(name, 0, None, None, None)
    low, high = wilson_interval(float(correct.sum()), len(correct))
    return ClassAccuracy(name, len(correct), float(correct.mean()), low, high)
