"""The Gauss-Newton matrix of the last linear layer alone, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdaif.linalg.conjugate_gradient import conjugate_gradient
from kdaif.linalg.layers import Layer, layers_of, tapped

# Above it the matrix is not formed: 2,048 squared is 32 MiB in float64.
_LARGEST_DENSE = 2048
_MOST_STEPS = 200
_TOLERANCE = 1e-6
_ROWS_PER_PASS = 1024


def head_solve(
    module: nn.Module,
    features: Tensor,
    row_weights: Tensor,
    temperatures: Tensor,
    right_sides: Tensor,
    damping: float,
) -> Tensor:
    """(H_head + d I)^-1 b on the last layer's parameters, `[K, P]`; 0 on all others, which count as fixed.

    For logits W a the block is sum_m c_m (diag p_m - p_m p_m^T) (x) a_m a_m^T, so it needs the layer's inputs and no
    backward pass. A head of up to 2,048 parameters is solved by Cholesky, a larger one by conjugate gradient.

    Args:
        module: in eval mode; its output is that of a Linear layer.
        features: raw rows `[M, ...]`.
        row_weights: c_m >= 0, `[M]`.
        temperatures: T_m, `[M]`.
        right_sides: b, `[K, P]`.
        damping: d.
    """
    layer = layers_of(module, features[:1])[-1]
    inputs, logits = _inputs_and_logits(module, layer, features)
    p = torch.softmax(logits / temperatures.double()[:, None], dim=1)
    weighted = row_weights.double()[:, None] * p
    given = layer.matrix(right_sides).double()

    def product(vector: Tensor) -> Tensor:
        change = inputs @ vector.view(layer.shape).T
        curved = weighted * (change - (p * change).sum(dim=1, keepdim=True))
        return (curved.T @ inputs).flatten() + damping * vector

    if given[0].numel() <= _LARGEST_DENSE:
        matrix = _dense(inputs, p, weighted)
        matrix.diagonal().add_(damping)
        factor, _ = torch.linalg.cholesky_ex(matrix)
        solved = torch.cholesky_solve(given.flatten(1).T, factor).T
    else:
        solved = conjugate_gradient(product, given.flatten(1), steps=_MOST_STEPS, tolerance=_TOLERANCE).x
    everywhere = torch.zeros_like(right_sides)
    layer.put(solved.view_as(given).to(right_sides.dtype), everywhere)
    return everywhere


def _inputs_and_logits(module: nn.Module, layer: Layer, features: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer's inputs `[M, I]` with a 1 for the bias, and the logits `[M, C]`, float64."""
    inputs, outputs = [], []
    for rows in torch.split(features, _ROWS_PER_PASS):
        logits, raw, last = tapped(module, [layer], rows)
        if last[0] is not logits:
            raise ValueError("the network's output is not that of a Linear layer, so there is no head to solve for")
        inputs.append(layer.inputs(raw[0])[:, 0].double())
        outputs.append(logits.detach().double())
    return torch.cat(inputs), torch.cat(outputs)


def _dense(inputs: Tensor, p: Tensor, weighted: Tensor) -> Tensor:
    """sum_m c_m (diag p_m - p_m p_m^T) (x) a_m a_m^T, `[C * I, C * I]`."""
    n_classes, n_inputs = p.shape[1], inputs.shape[1]
    matrix = inputs.new_zeros(n_classes, n_inputs, n_classes, n_inputs)
    for c in range(n_classes):
        for other in range(c + 1):
            middle = weighted[:, c] * (float(c == other) - p[:, other])
            matrix[c, :, other] = matrix[other, :, c] = (middle[:, None] * inputs).T @ inputs
    return matrix.view(n_classes * n_inputs, n_classes * n_inputs)
