"""What a change of the objective would do to the loss of held-out rows, to first order."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kdaif.influence.curvature import Curvature
from kdaif.linalg import conjugate_gradient, directional_derivatives, linearise, logits_of

_ROWS_PER_PASS = 1024


def predicted_change(
    student: nn.Module,
    curvature: Curvature,
    features: Tensor,
    logit_gradients: Tensor,
    held_out_features: Tensor,
    held_out_labels: Tensor,
    *,
    steps: int,
    damping: float,
    tolerance: float = 1e-2,
) -> NDArray[np.float64]:
    """Change of each held-out row's cross-entropy, `[M]`, when the objective gains a term D(theta). Negative is a gain.

    The minimum moves by -(H + d I)^-1 grad D, so row j's loss moves by -(grad L_j) . (H + d I)^-1 grad D.

    Args:
        student: in eval mode, at the parameters of `curvature`.
        curvature: H.
        features: raw rows of U, `[N, ...]`.
        logit_gradients: dD/dz, `[N, C]`: new weights and targets less the old ones.
        held_out_features: raw rows, `[M, ...]`.
        held_out_labels: int64 `[M]`.
        steps: conjugate-gradient steps.
        damping: d.
        tolerance: relative residual at which the solve is done.
    """
    theta = curvature.theta
    gradient = torch.zeros_like(theta)
    for rows, in_logits in zip(
        torch.split(features, _ROWS_PER_PASS), torch.split(logit_gradients, _ROWS_PER_PASS), strict=True
    ):
        _, transposed = linearise(logits_of(student, rows), theta)
        gradient += transposed(in_logits.to(theta.dtype)).detach()
    solved = conjugate_gradient(
        lambda vector: curvature.product(vector) + damping * vector,
        gradient[None],
        steps=steps,
        tolerance=tolerance,
    )
    logits, changes = directional_derivatives(logits_of(student, held_out_features), theta, -solved.x)
    errors = torch.softmax(logits, dim=1) - functional.one_hot(held_out_labels, logits.shape[1]).to(logits.dtype)
    changed: NDArray[np.float64] = (changes[0] * errors).sum(dim=1).double().cpu().numpy()
    return changed
