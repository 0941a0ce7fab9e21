"""From log-odds to weights of mean 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

# expit(1.702 z) is the normal distribution function of z within .01 (Camilli 1994).
_NORMAL_AS_LOGISTIC = 1.702
_BLENDED_FLOOR = 0.5


@dataclass(frozen=True, eq=False)
class Parts:
    """The factors of a row's weight, each in 0..1, float64 `[N]`.

    Attributes:
        helps: that weighing the row up lowers the loss on V: near 1/2 where V cannot tell.
        right: that its pseudo-label is right, in the student's eyes.
    """

    helps: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def kept(self) -> NDArray[np.float64]:
        """Their product: both have to hold."""
        return self.helps * self.right


def parts_of(z_influence: NDArray[np.float64], z_agreement: NDArray[np.float64], sharpness: float) -> Parts:
    """expit(1.7 sharpness z_influence) and expit(sharpness z_agreement).

    At sharpness 1 the first is the normal probability that the row helps, given how its influence varies over V.
    """
    return Parts(
        helps=np.asarray(expit(_NORMAL_AS_LOGISTIC * sharpness * z_influence)),
        right=np.asarray(expit(sharpness * z_agreement)),
    )


def loss_weights(parts: Parts, *, floor: float, blended: bool) -> NDArray[np.float64]:
    """Weights of mean 1, `[N]`, in proportion to max(helps * right, floor).

    With blended targets a row whose pseudo-label is not believed teaches what the student believes instead, so `right`
    does not take its weight below a half.
    """
    right = np.maximum(parts.right, _BLENDED_FLOOR) if blended else parts.right
    return normalise(np.maximum(parts.helps * right, floor))


def with_overrides(weights: NDArray[np.float64], overrides: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Weights with a person's word put in last, `[N]`.

    An overridden row weighs exactly what the person said. The others keep mean 1 among themselves, so that what an
    override means does not depend on how many there are: 2 is twice an average row.

    Args:
        weights: `[N]`.
        overrides: `[N]`, NaN where a row has none; None where no row has one.
    """
    if overrides is None:
        return weights
    given = ~np.isnan(overrides)
    final = overrides.copy()
    final[~given] = normalise(weights[~given])
    return final


def log_odds_of(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(kept / (1 - kept)), `[N]`, finite."""
    inside = np.clip(kept, 1e-12, 1.0 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside))


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
