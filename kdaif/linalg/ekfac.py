"""EK-FAC: the Gauss-Newton matrix as one block per layer, diagonal in a Kronecker eigenbasis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdaif.linalg.layers import Layer, fisher_roots, layers_of, tapped
from kdaif.linalg.parameters import pulled_back

# Numbers that one chunk of rows may hold per layer: 4 MiB in float32, which stays in the cache.
_CHUNK_NUMBERS = 1 << 20


@dataclass(frozen=True, eq=False)
class EkfacBlock:
    """One layer's curvature Q diag(eigenvalues) Q^T with Q = outputs (x) inputs; zero outside the span of Q.

    Attributes:
        layer: whose.
        outputs: eigenvectors of the output gradients' second moment, `[O, O]`.
        inputs: eigenvectors of the inputs' second moment, `[I, R]`; R < I where fewer inputs than I were met.
        eigenvalues: exact second moment of the layer's gradient along each pair, `[O, R]`.
    """

    layer: Layer
    outputs: Tensor
    inputs: Tensor
    eigenvalues: Tensor


@dataclass(frozen=True, eq=False)
class Ekfac:
    """All blocks.

    Attributes:
        blocks: one per Linear and plain Conv2d layer.
        rest: bool `[P]`, the parameters of no block, such as those of BatchNorm.
    """

    blocks: tuple[EkfacBlock, ...]
    rest: Tensor

    def solve(self, right_sides: Tensor, damping: float, rest_curvature: float) -> Tensor:
        """(EKFAC + d I)^-1 b, `[K, P]`.

        Args:
            right_sides: b, `[K, P]`.
            damping: d.
            rest_curvature: h; the block of `rest` is h I.
        """
        solved = right_sides / (rest_curvature + damping)
        for block in self.blocks:
            given = block.layer.matrix(right_sides)
            along = block.outputs.T @ given @ block.inputs
            inverse = block.outputs @ (along / (block.eigenvalues + damping)) @ block.inputs.T
            if block.inputs.shape[1] < block.inputs.shape[0]:
                # No row had a gradient outside the span, so there is nothing but damping.
                inverse = inverse + (given - given @ block.inputs @ block.inputs.T) / damping
            block.layer.put(inverse, solved)
        return solved


def ekfac(
    module: nn.Module, features: Tensor, row_weights: Tensor, temperatures: Tensor, *, left_out: float = 0.0
) -> Ekfac:
    """EK-FAC of sum_m c_m J_m^T (diag p_m - p_m p_m^T) J_m (George et al. 2018; for Conv2d, Grosse and Martens 2016).

    A first pass over the rows finds each layer's eigenbasis, a second one measures the gradients' second moment in it;
    both take the expectation over classes in closed form, by one backward pass to the layers' outputs per class. Memory
    is that of the parameters and of a chunk of rows.

    Args:
        module: in eval mode.
        features: raw rows `[M, ...]`.
        row_weights: c_m >= 0, `[M]`, or `[M, H]` of H heads side by side, whose rows all count in each other's basis.
        temperatures: T_m of p_m = softmax(z_m / T_m), `[M]`, or `[M, H]`.
        left_out: share of the middle factors' trace that may be missing, to save backward passes (`fisher_roots`).
    """
    layers = layers_of(module, features[:1])
    chunk = _rows_per_chunk(layers)
    outputs, inputs = _eigenbases(module, layers, features, row_weights, temperatures, chunk, left_out)
    eigenvalues = _second_moments(module, layers, outputs, inputs, features, row_weights, temperatures, chunk, left_out)
    rest = torch.ones(sum(p.numel() for p in module.parameters()), dtype=torch.bool, device=features.device)
    for layer in layers:
        for place in (layer.weight, layer.bias):
            if place is not None:
                rest[place] = False
    blocks = [EkfacBlock(*parts) for parts in zip(layers, outputs, inputs, eigenvalues, strict=True)]
    return Ekfac(tuple(blocks), rest)


def _rows_per_chunk(layers: Sequence[Layer]) -> int:
    """As many rows as keep a layer's unfolded inputs, and a convolution's per-row gradients, within the limit."""
    largest = 1
    for layer in layers:
        n_outputs, n_inputs = layer.shape
        largest = max(largest, layer.positions * n_inputs, n_outputs * n_inputs if layer.positions > 1 else 1)
    return max(1, _CHUNK_NUMBERS // largest)


def _passes(
    module: nn.Module,
    layers: Sequence[Layer],
    features: Tensor,
    row_weights: Tensor,
    temperatures: Tensor,
    chunk: int,
    left_out: float,
) -> Iterator[tuple[Tensor, list[Tensor], Iterator[tuple[Tensor, ...]]]]:
    """Per chunk: row weights `[m]`, each layer's inputs `[m, S, I]`, and per class its output gradients `[m, S, O]`."""
    parts = (torch.split(tensor, chunk) for tensor in (features, row_weights, temperatures))
    for rows, weights, t in zip(*parts, strict=True):
        logits, raw, outputs = tapped(module, layers, rows)

        def gradients(
            logits: Tensor = logits, outputs: list[Tensor] = outputs, weights: Tensor = weights, t: Tensor = t
        ) -> Iterator[tuple[Tensor, ...]]:
            for root in fisher_roots(logits, weights, t, left_out):
                found = pulled_back(logits, outputs, root)
                yield tuple(layer.output_gradients(g) for layer, g in zip(layers, found, strict=True))

        of_rows = weights if weights.ndim == 1 else weights.sum(dim=1)
        yield of_rows, [layer.inputs(given) for layer, given in zip(layers, raw, strict=True)], gradients()


def _eigenbases(
    module: nn.Module,
    layers: Sequence[Layer],
    features: Tensor,
    row_weights: Tensor,
    temperatures: Tensor,
    chunk: int,
    left_out: float,
) -> tuple[list[Tensor], list[Tensor]]:
    """Eigenvectors of the second moments of output gradients `[O, O]` and of inputs `[I, R]`, per layer."""
    moments = [row_weights.new_zeros(layer.shape[0], layer.shape[0]) for layer in layers]
    # Few inputs of a wide layer take less room than their second moment, and a basis of their span costs less.
    narrow = [len(features) * layer.positions < layer.shape[1] for layer in layers]
    met: list[list[Tensor]] = [[] for _ in layers]
    for weights, inputs, gradients in _passes(module, layers, features, row_weights, temperatures, chunk, left_out):
        for kept, few, given in zip(met, narrow, inputs, strict=True):
            scaled = (weights.sqrt()[:, None, None] * given).flatten(0, 1)
            if few:
                kept.append(scaled)
            else:
                kept[:] = [scaled.T @ scaled + (kept[0] if kept else 0.0)]
        for of_class in gradients:
            for moment, gradient in zip(moments, of_class, strict=True):
                flat = gradient.flatten(0, 1)
                moment += flat.T @ flat
    outputs = [torch.linalg.eigh(moment).eigenvectors for moment in moments]
    return outputs, [
        _basis_of_rows(torch.cat(kept)) if few else torch.linalg.eigh(kept[0]).eigenvectors
        for kept, few in zip(met, narrow, strict=True)
    ]


def _basis_of_rows(rows: Tensor) -> Tensor:
    """Orthonormal eigenvectors `[I, R]` of X^T X that span the rows of X `[R, I]`, R < I."""
    span, triangle = torch.linalg.qr(rows.T)
    basis: Tensor = span @ torch.linalg.eigh(triangle @ triangle.T).eigenvectors
    return basis


def _second_moments(
    module: nn.Module,
    layers: Sequence[Layer],
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    features: Tensor,
    row_weights: Tensor,
    temperatures: Tensor,
    chunk: int,
    left_out: float,
) -> list[Tensor]:
    """sum_m c_m E_class (Q_out^T dW Q_in)^2, `[O, R]` per layer, where dW is row m's gradient."""
    totals = [row_weights.new_zeros(out.shape[1], given.shape[1]) for out, given in zip(outputs, inputs, strict=True)]
    for _, met, gradients in _passes(module, layers, features, row_weights, temperatures, chunk, left_out):
        turned = [given @ basis for given, basis in zip(met, inputs, strict=True)]
        squared_sums = [
            row_weights.new_zeros(len(given), out.shape[1]) for given, out in zip(met, outputs, strict=True)
        ]
        for of_class in gradients:
            for number, layer in enumerate(layers):
                along = of_class[number] @ outputs[number]
                if layer.positions > 1:
                    totals[number] += torch.bmm(along.transpose(1, 2), turned[number]).square().sum(dim=0)
                else:
                    # A row's gradient is one outer product: squares of classes add up before they meet the inputs.
                    squared_sums[number] += along[:, 0].square()
        for number, layer in enumerate(layers):
            if layer.positions == 1:
                totals[number] += squared_sums[number].T @ turned[number][:, 0].square()
    return totals
