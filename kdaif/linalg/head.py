"""The last linear layer: its inputs by one forward pass, and its Gauss-Newton matrix in a Kronecker eigenbasis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdaif.linalg.layers import Layer, layers_of
from kdaif.linalg.pooling import FastPooling
from kdaif.linalg.runs import rows_at_once

_ROWS_PER_PASS = 4096
# A decomposition costs the cube of the classes: 0.3 s for 1,000, and 300 s for 10,000.
_MOST_DECOMPOSED_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class HeadRows:
    """What some rows bring to the last layer, a Linear.

    Attributes:
        inputs: a, the layer's inputs with a 1 appended for the bias, `[M, I]`.
        logits: its outputs, `[M, C]`.
    """

    inputs: Tensor
    logits: Tensor


def head_rows(module: nn.Module, features: Tensor) -> HeadRows:
    """One forward pass without a graph.

    Args:
        module: in eval mode; its output is that of a Linear layer.
        features: raw rows `[M, ...]`.

    Raises:
        ValueError: the network does not end in a Linear layer.
    """
    layer = layers_of(module, features[:1])[-1]
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.module.register_forward_hook(lambda _, given, output: seen.append((given[0], output)))
    inputs, logits = [], []
    try:
        with torch.no_grad(), FastPooling():
            for rows in torch.split(features, min(_ROWS_PER_PASS, rows_at_once(module, features))):
                output = module(rows)
                given, of_layer = seen.pop()
                if of_layer is not output or not isinstance(layer.module, nn.Linear):
                    raise ValueError("the network's output is not that of a Linear layer, so there is no head")
                inputs.append(_with_bias(layer, given))
                logits.append(output)
    finally:
        handle.remove()
    return HeadRows(torch.cat(inputs), torch.cat(logits))


def _with_bias(layer: Layer, given: Tensor) -> Tensor:
    return layer.inputs(given)[:, 0]


@dataclass(frozen=True, eq=False)
class HeadCurvature:
    """H = Q diag(eigenvalues) Q^T on the head's parameters `[C, I]`, with Q = outputs (x) inputs.

    The basis is that of the second moments of inputs and of output gradients; the eigenvalues are the exact curvature
    along it, the expectation over classes in closed form (EK-FAC, George et al. 2018). Of many classes the outputs'
    basis is the classes themselves: diag p outweighs p p^T there, and scores are as near to those of the exact matrix.

    Attributes:
        outputs: `[C, C]`, orthonormal columns; None where it is the identity.
        inputs: `[I, I]`, orthonormal columns.
        eigenvalues: `[C, I]`.
    """

    outputs: Tensor | None
    inputs: Tensor
    eigenvalues: Tensor

    def of_outputs(self, vectors: Tensor) -> Tensor:
        """Vectors `[..., C]` in the outputs' basis, in float64."""
        return vectors.double() if self.outputs is None else vectors.double() @ self.outputs

    def turned(self, matrices: Tensor) -> Tensor:
        """Q^T V of each matrix `[..., C, I]`, in float64."""
        of_outputs = matrices.double() if self.outputs is None else self.outputs.T @ matrices.double()
        return of_outputs @ self.inputs

    def along(self, matrices: Tensor) -> Tensor:
        """V^T H V of each matrix `[K, C, I]`, `[K]`."""
        return (self.turned(matrices).square() * self.eigenvalues).sum(dim=(1, 2))

    def solve(self, matrices: Tensor, damping: float) -> Tensor:
        """(H + d I)^-1 of each matrix, `[K, C, I]`, in the precision of `matrices`."""
        solved = self.turned(matrices) / (self.eigenvalues + damping)
        if self.outputs is not None:
            solved = self.outputs @ solved
        return (solved @ self.inputs.T).to(matrices.dtype)


def head_curvature(rows: HeadRows, row_weights: Tensor, temperatures: Tensor) -> HeadCurvature:
    """Of sum_m c_m (diag p_m - p_m p_m^T) (x) a_m a_m^T, in float64.

    Args:
        rows: `[M]`.
        row_weights: c_m >= 0, `[M]`.
        temperatures: T_m of p_m = softmax(z_m / T_m), `[M]`.

    Raises:
        torch.linalg.LinAlgError: the moments are not finite.
    """
    a, c = rows.inputs.double(), row_weights.double()[:, None]
    p = torch.softmax(rows.logits.double() / temperatures.double()[:, None], dim=1)
    inputs = torch.linalg.eigh((c * a).T @ a).eigenvectors
    if p.shape[1] > _MOST_DECOMPOSED_CLASSES:
        outputs, curved = None, p * (1 - p)
    else:
        outputs = torch.linalg.eigh(torch.diag((c * p).sum(dim=0)) - (c * p).T @ p).eigenvectors
        # u^T (diag p - p p^T) u for every row and every column u of the output basis.
        curved = (p @ outputs.square() - (p @ outputs).square()).clamp_min(0.0)
    eigenvalues = (c * curved).T @ (a @ inputs).square()
    return HeadCurvature(outputs, inputs, eigenvalues)
