"""Products with the Gauss-Newton matrix of a weighted softmax loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdaif.linalg.parameters import linearise


def gauss_newton(
    logits: Callable[[Tensor], Tensor], theta: Tensor, row_weights: Tensor, temperatures: Tensor
) -> Callable[[Tensor], Tensor]:
    """The map v `[P]` -> G v with G = sum_m c_m J_m^T (diag p_m - p_m p_m^T) J_m (Schraudolph 2002; Martens 2010).

    J_m `[C, P]` is the Jacobian of row m's logits and p_m = softmax(z_m / T_m). For cross-entropy (T = 1) the middle
    factor is the Hessian of the loss in the logits; for T^2 KL(q^T || p^T) it is too: each derivative brings a factor
    1/T, so that T^2 cancels, and the target drops out.

    The network is linearised once: the backward pass of the reverse-mode product, itself linear in its argument, is
    transposed to give J v without another forward pass. Memory holds the activations of all M rows.

    Args:
        logits: `[P]` to `[M, C]`, differentiable.
        theta: where to linearise, `[P]`.
        row_weights: c_m >= 0, `[M]`, including any division by the number of rows.
        temperatures: T_m, `[M]`.
    """
    outputs, transposed = linearise(logits, theta)
    # The reverse product is linear in its cotangent, so where it is transposed does not matter.
    _, forward = linearise(transposed, torch.zeros_like(outputs))
    probabilities = torch.softmax(outputs / temperatures[:, None], dim=1)
    weighted = row_weights[:, None] * probabilities

    def product(vector: Tensor) -> Tensor:
        change = forward(vector)
        curved = weighted * (change - (probabilities * change).sum(dim=1, keepdim=True))
        return transposed(curved).detach()

    return product
