"""From log-odds to weights of mean 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

_BLENDED_FLOOR = 0.5


def kept_share(log_odds: NDArray[np.float64], *, sharpness: float, floor: float) -> NDArray[np.float64]:
    """max(sigmoid(sharpness * s), floor), `[N]`, in floor..1: how much of the teacher's word is kept."""
    return np.asarray(np.maximum(expit(sharpness * log_odds), floor), dtype=np.float64)


def loss_weights(kept: NDArray[np.float64], *, blended: bool) -> NDArray[np.float64]:
    """Weights of mean 1, `[N]`, in proportion to the kept shares.

    With blended targets a row whose teacher is not believed teaches what the student and V believe instead, so its
    weight stays above a floor of its own.
    """
    return normalise(np.maximum(kept, _BLENDED_FLOOR) if blended else kept)


def normalise(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights over their mean, `[N]`; equal weights become exactly 1, and so do weights that are all zero."""
    if len(weights) == 0 or float(weights.max()) == float(weights.min()):
        return np.ones_like(weights)
    scaled: NDArray[np.float64] = weights / weights.mean()
    return scaled


def effective_sample_size(weights: NDArray[np.floating]) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965): how many equally weighted rows these are worth."""
    squared = float(np.square(weights, dtype=np.float64).sum())
    return float(weights.sum(dtype=np.float64)) ** 2 / squared if squared > 0 else 0.0
