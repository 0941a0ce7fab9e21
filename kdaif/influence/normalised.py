"""From the influence of a row's loss to that of its weight, in the objective that is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.scratch import Scratch


@dataclass(frozen=True, eq=False)
class UnitOfWeight:
    """What makes dL_val/dw_i of the influence of row i: `scale * (influence - centre)`.

    Attributes:
        scale: soft_label_weight / sum(w); 0 where no row has any weight.
        centre: the weighted mean of the influence over all rows, float64 `[...]`, such as one number per block.
    """

    scale: float
    centre: NDArray[np.float64]

    def applied(self, influence: NDArray[np.floating]) -> NDArray[np.float64]:
        """dL_val/dw_i of some rows, float64 `[..., M]`, from their influence `[..., M]`."""
        centred: NDArray[np.float64] = influence.astype(np.float64) - self.centre[..., None]
        return self.scale * centred


def unit_of_weight(
    influence: NDArray[np.floating],
    weights: NDArray[np.float64],
    soft_label_weight: float,
    scratch: Scratch | None = None,
) -> UnitOfWeight:
    """The unit over all rows, whose weighted mean is summed up a slab at a time. Arguments as `per_unit_of_weight`.

    Raising w_i also takes a little from every other row, since J divides by sum(w). So with
    dJ/dw_i = soft_label_weight / sum(w) * (l_i - mean_w l), the change is centred at the weighted mean: a row that
    helps less than the mean row does harm.
    """
    total = float(weights.sum())
    if total <= 0:
        return UnitOfWeight(0.0, np.zeros(influence.shape[:-1]))
    weighted = np.zeros(influence.shape[:-1])
    for rows in (scratch or Scratch()).slabs(len(weights), 2 * 8 * max(1, weighted.size)):
        weighted = weighted + influence[..., rows].astype(np.float64) @ weights[rows]
    return UnitOfWeight(soft_label_weight / total, weighted / total)


def per_unit_of_weight(
    influence: NDArray[np.floating], weights: NDArray[np.float64], soft_label_weight: float
) -> NDArray[np.float64]:
    """dL_val/dw_i, float64 `[..., N]`, where J holds soft_label_weight * sum(w l) / sum(w); see `unit_of_weight`.

    Args:
        influence: -g^T (H + d I)^-1 grad l_i, of `influence_scores`, `[..., N]`, such as one row per block.
        weights: that J was trained with, `[N]`.
        soft_label_weight: of J.
    """
    return unit_of_weight(influence, weights, soft_label_weight).applied(influence)
