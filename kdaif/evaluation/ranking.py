"""How well a number finds the rows that are looked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc(scores: NDArray[np.floating], sought: NDArray[np.bool_]) -> float | None:
    """Probability that a sought row scores higher than another, ties counting half (Mann and Whitney 1947).

    Args:
        scores: `[N]`.
        sought: `[N]`.

    Returns:
        0 to 1; .5 is a coin. None where there is no sought row, or no other.
    """
    n_sought, n_others = int(sought.sum()), int((~sought).sum())
    if n_sought == 0 or n_others == 0:
        return None
    ranks = rankdata(scores)
    return float((ranks[sought].sum() - n_sought * (n_sought + 1) / 2) / (n_sought * n_others))


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
