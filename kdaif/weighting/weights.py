"""From log-odds to weights of mean 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from kdaif.scratch import Scratch

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
    """Weights of mean 1, `[N]`: `shares_of_weight`, normalised."""
    return normalise(shares_of_weight(parts, floor=floor, blended=blended))


def shares_of_weight(parts: Parts, *, floor: float, blended: bool) -> NDArray[np.float64]:
    """What weights are in proportion to, `[N]`: max(helps * right, floor), of each row by itself.

    With blended targets a row whose pseudo-label is not believed teaches what the student believes instead, so `right`
    does not take its weight below a half.
    """
    right = np.maximum(parts.right, _BLENDED_FLOOR) if blended else parts.right
    return np.maximum(parts.helps * right, floor)


def with_overrides(
    weights: NDArray[np.float64], overrides: NDArray[np.float64] | None, scratch: Scratch | None = None
) -> NDArray[np.float64]:
    """Weights with a person's word put in last, `[N]`.

    An overridden row weighs exactly what the person said. The others keep mean 1 among themselves, so that what an
    override means does not depend on how many there are: 2 is twice an average row.

    Args:
        weights: `[N]`.
        overrides: `[N]`, NaN where a row has none; None where no row has one.
        scratch: of the rows; None where they are in memory.
    """
    return weights if overrides is None else _of_mean_one(weights, overrides, scratch)


def log_odds_of(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(kept / (1 - kept)), `[N]`, finite."""
    inside = np.clip(kept, 1e-12, 1.0 - 1e-12)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def normalise(weights: NDArray[np.float64], scratch: Scratch | None = None) -> NDArray[np.float64]:
    """Weights over their mean, `[N]`; equal weights become exactly 1, and so do weights that are all zero."""
    return _of_mean_one(weights, None, scratch)


def _of_mean_one(
    weights: NDArray[np.float64], overrides: NDArray[np.float64] | None, scratch: Scratch | None
) -> NDArray[np.float64]:
    """A new array: what a person gave, and the others over their own mean."""
    room = Scratch() if scratch is None else scratch
    count, total, least, most = 0, 0.0, np.inf, -np.inf
    for rows in room.slabs(len(weights), 3 * 8):
        own = weights[rows] if overrides is None else weights[rows][np.isnan(overrides[rows])]
        if len(own):
            count, total = count + len(own), total + float(own.sum())
            least, most = min(least, float(own.min())), max(most, float(own.max()))
    found: NDArray[np.float64] = room.empty(weights.shape, np.float64)
    for rows in room.slabs(len(weights), 5 * 8):
        scaled = weights[rows] / (total / count) if most > least else np.ones(len(weights[rows]))
        found[rows] = scaled if overrides is None else np.where(np.isnan(overrides[rows]), scaled, overrides[rows])
    return found


def effective_sample_size(weights: NDArray[np.floating], scratch: Scratch | None = None) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965): how many equally weighted rows these are worth."""
    total, squared = 0.0, 0.0
    for rows in (scratch or Scratch()).slabs(len(weights), 3 * 8):
        total += float(weights[rows].sum(dtype=np.float64))
        squared += float(np.square(weights[rows], dtype=np.float64).sum())
    return total**2 / squared if squared > 0 else 0.0
