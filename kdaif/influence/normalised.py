"""From the influence of a row's loss to that of its weight, in the objective that is trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def per_unit_of_weight(
    influence: NDArray[np.float64], weights: NDArray[np.float64], soft_label_weight: float
) -> NDArray[np.float64]:
    """dL_val/dw_i, `[..., N]`, where J holds soft_label_weight * sum(w l) / sum(w).

    Raising w_i also takes a little from every other row, since J divides by sum(w). So with
    dJ/dw_i = soft_label_weight / sum(w) * (l_i - mean_w l), the change is centred at the weighted mean: a row that
    helps less than the mean row does harm.

    Args:
        influence: -g^T (H + d I)^-1 grad l_i, of `influence_scores`, `[..., N]`, such as one row per block.
        weights: that J was trained with, `[N]`.
        soft_label_weight: of J.
    """
    total = float(weights.sum())
    if total <= 0:
        return np.zeros_like(influence)
    centred: NDArray[np.float64] = influence - (influence @ weights / total)[..., None]
    return soft_label_weight / total * centred
