"""Products with the Gauss-Newton matrix of a weighted softmax loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kdaif.linalg.heads import curved, head_probabilities
from kdaif.linalg.parameters import linearise, pulled_back


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
        row_weights: c_m >= 0, `[M]`, including any division by the number of rows; `[M, H]` of a network of H heads,
            whose logits stand side by side.
        temperatures: T_m, `[M]`, or `[M, H]`.
    """
    outputs, transposed = linearise(logits, theta)
    # The reverse product is linear in its cotangent, so where it is transposed does not matter.
    _, forward = linearise(transposed, torch.zeros_like(outputs))
    probabilities = head_probabilities(outputs, temperatures)

    def product(vector: Tensor) -> Tensor:
        return transposed(curved(forward(vector), probabilities, row_weights))

    return product


def gauss_newton_once(
    logits: Callable[[Tensor], Tensor], theta: Tensor, row_weights: Tensor, temperatures: Tensor, vector: Tensor
) -> Tensor:
    """G v of `gauss_newton`, keeping nothing: one pass in forward mode, and the backward pass of the same pass.

    Arguments as `gauss_newton`, and v `[P]`. A layer without a forward-mode rule costs a linearisation instead.
    """
    variable = theta.detach().requires_grad_()
    try:
        with forward_ad.dual_level(), torch.enable_grad():
            dual = logits(forward_ad.make_dual(variable, vector))  # type: ignore[no-untyped-call]
            outputs, change = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    except NotImplementedError:
        return gauss_newton(logits, theta, row_weights, temperatures)(vector)
    probabilities = head_probabilities(outputs.detach(), temperatures)
    (found,) = pulled_back(outputs, (variable,), curved(change.detach(), probabilities, row_weights))
    return found
