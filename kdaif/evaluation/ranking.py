"""How well a number finds the rows that are looked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 1_000_000


def auroc(scores: NDArray[np.floating], sought: NDArray[np.bool_]) -> float | None:
    """Probability that a sought row scores higher than another, ties counting half (Mann and Whitney 1947).

    Args:
        scores: `[N]`.
        sought: `[N]`.

    Returns:
        0 to 1; .5 is a coin. None where there is no sought row, or no other.
    """
    return chance_of_more(scores[sought], scores[~sought])


def chance_of_more(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Probability that one of `first` is more than one of `second`, ties counting half: the area that `auroc` tells.

    Counted exactly, with a sorted copy of the shorter array and little else beside.

    Args:
        first: `[N]`.
        second: `[M]`.

    Returns:
        0 to 1; None where either is empty.
    """
    if len(first) == 0 or len(second) == 0:
        return None
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    in_order = np.sort(shorter)
    twice = 0  # the pairs where one of the longer is more, twice, and the ties
    for start in range(0, len(longer), _ROWS_AT_ONCE):
        some = longer[start : start + _ROWS_AT_ONCE]
        twice += int(np.searchsorted(in_order, some, "left").sum() + np.searchsorted(in_order, some, "right").sum())
    pairs = len(first) * len(second)
    more = twice if longer is first else 2 * pairs - twice
    return more / 2 / pairs


def auroc_stderr(area: float, n_sought: int, n_others: int) -> float:
    """Standard error of an `auroc` over other rows of the same kinds (Hanley and McNeil 1982, equation 2).

    Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A) stand for the chances that two sought rows both beat one other, and that
    one sought row beats two others, as they are for exponential scores. At 0 and 1 it is 0, which is too little.
    """
    squared = area**2
    of_two_sought, of_two_others = area / (2 - area), 2 * squared / (1 + area)
    variance = (
        area * (1 - area) + (n_sought - 1) * (of_two_sought - squared) + (n_others - 1) * (of_two_others - squared)
    ) / (n_sought * n_others)
    return math.sqrt(max(variance, 0.0))
