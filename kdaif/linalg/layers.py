"""Linear and Conv2d layers seen alike: a weight matrix, the inputs it met, and the gradients of its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdaif.linalg.heads import head_probabilities
from kdaif.linalg.parameters import laid_out

# The decomposition of a row's middle factor costs the cube of its classes.
_MOST_DECOMPOSED_CLASSES = 64


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer with the places of its parameters in the parameter vector.

    Attributes:
        module: a Linear or Conv2d.
        weight: where its weight is, O * I entries.
        bias: where its bias is, O entries; None without one.
        positions: S, how often the weight meets one row: the pixels of a convolution's output.
    """

    module: nn.Linear | nn.Conv2d
    weight: slice
    bias: slice | None
    positions: int

    @property
    def shape(self) -> tuple[int, int]:
        """O, and I with one more for the bias."""
        outputs = self.module.weight.shape[0]
        return outputs, self.module.weight[0].numel() + (self.bias is not None)

    def matrix(self, vectors: Tensor) -> Tensor:
        """The layer's part of parameter vectors `[K, P]`, the bias as last column: `[K, O, I]`."""
        weight = vectors[:, self.weight].reshape(len(vectors), self.shape[0], -1)
        return weight if self.bias is None else torch.cat([weight, vectors[:, self.bias, None]], dim=2)

    def put(self, matrix: Tensor, vectors: Tensor) -> None:
        """Writes `[K, O, I]` to its places in `[K, P]`; the inverse of `matrix`."""
        if self.bias is not None:
            vectors[:, self.bias] = matrix[:, :, -1]
            matrix = matrix[:, :, :-1]
        vectors[:, self.weight] = matrix.flatten(1)

    def inputs(self, raw: Tensor) -> Tensor:
        """What the weight matrix multiplies, a 1 appended for the bias: `[M, S, I]`."""
        module = self.module
        if isinstance(module, nn.Conv2d):
            assert not isinstance(module.padding, str)  # noqa: S101  # left out by `layers_of`
            patches = functional.unfold(raw, module.kernel_size, module.dilation, module.padding, module.stride)
            met = patches.transpose(1, 2)
        else:
            met = raw.reshape(len(raw), -1, raw.shape[-1])
        return met if self.bias is None else functional.pad(met, (0, 1), value=1.0)

    def output_gradients(self, raw: Tensor) -> Tensor:
        """Gradients in the layer's outputs as `[M, S, O]`."""
        if isinstance(self.module, nn.Conv2d):
            return raw.flatten(2).transpose(1, 2)
        return raw.reshape(len(raw), -1, raw.shape[-1])


def layers_of(module: nn.Module, row: Tensor) -> tuple[Layer, ...]:
    """The Linear and plain Conv2d layers of a network that one forward pass calls exactly once, in that order.

    Left out, since their curvature is no Kronecker product of this form: grouped convolutions, padding by name or other
    than with zeros, layers called twice, and parameters that layers share.

    Args:
        module: in eval mode.
        row: one raw row, `[1, ...]`.
    """
    places = _places(module)
    candidates = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    calls: list[tuple[nn.Module, int]] = []
    handles = [
        layer.register_forward_hook(lambda called, _, output: calls.append((called, output[0].numel())))
        for _, layer in candidates
    ]
    try:
        with torch.no_grad():
            module(row)
    finally:
        for handle in handles:
            handle.remove()
    times = Counter(id(called) for called, _ in calls)
    names = {id(layer): (name, layer) for name, layer in candidates}
    found = []
    for called, size in calls:
        name, layer = names[id(called)]
        prefix = f"{name}." if name else ""
        needed = [prefix + "weight"] + ([prefix + "bias"] if layer.bias is not None else [])
        if times[id(called)] == 1 and _is_plain(layer) and all(key in places for key in needed):
            bias = places[prefix + "bias"] if layer.bias is not None else None
            found.append(Layer(layer, places[prefix + "weight"], bias, size // layer.weight.shape[0]))
    return tuple(found)


def tapped(module: nn.Module, layers: Sequence[Layer], rows: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """One forward pass: logits `[M, C]`, and per layer its raw inputs and its outputs, all still in one graph."""
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    handles = [
        layer.module.register_forward_hook(
            lambda called, given, output: seen.__setitem__(id(called), (given[0].detach(), output))
        )
        for layer in layers
    ]
    try:
        with torch.enable_grad():
            logits: Tensor = torch.func.functional_call(module, laid_out(module), (rows,))
    finally:
        for handle in handles:
            handle.remove()
    pairs = [seen[id(layer.module)] for layer in layers]
    return logits, [given for given, _ in pairs], [output for _, output in pairs]


def fisher_roots(logits: Tensor, row_weights: Tensor, temperatures: Tensor, left_out: float = 0.0) -> Iterator[Tensor]:
    """Vectors u_c `[M, C]`, one per class, with sum_c u_c u_c^T = w (diag p - p p^T) for every row.

    u_c = sqrt(w p_c) (e_c - p): the score of class c times the root of its probability, so that the sum over c is the
    exact expectation over classes. One sampled class in its place is heavy-tailed where the network is confident.

    Only the sum of u u^T matters, and eigenvectors get nearly all of it with fewer vectors than there are classes, each
    of which costs a backward pass.

    Args:
        logits: `[M, C]`, or `[M, H C]` of H heads side by side, each with its own classes and roots.
        row_weights: w, `[M]`, or `[M, H]`.
        temperatures: T of p = softmax(z / T), `[M]`, or `[M, H]`.
        left_out: the largest share of each head's trace over all rows that may be missing from the sum. Above 0 the
            vectors are the leading eigenvectors of each row, where a head has at most 64 classes.
    """
    p = head_probabilities(logits.detach(), temperatures)
    of_heads = row_weights.reshape(len(p), -1)
    width = p.shape[1] // of_heads.shape[1]
    fewer = left_out > 0 and width <= _MOST_DECOMPOSED_CLASSES
    for head in range(of_heads.shape[1]):
        own = slice(head * width, (head + 1) * width)
        weights = of_heads[:, head]
        for found in _leading_roots(p[:, own], weights, left_out) if fewer else _scores(p[:, own], weights):
            root = torch.zeros_like(p)
            root[:, own] = found
            yield root


def _scores(p: Tensor, row_weights: Tensor) -> Iterator[Tensor]:
    for c in range(p.shape[1]):
        score = -p
        score[:, c] += 1.0
        yield (row_weights * p[:, c]).sqrt()[:, None] * score


def _leading_roots(p: Tensor, row_weights: Tensor, left_out: float) -> Iterator[Tensor]:
    middle = row_weights[:, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    eigenvalues, eigenvectors = torch.linalg.eigh(middle)
    roots = eigenvectors * eigenvalues.clamp_min(0.0).sqrt()[:, None, :]
    of_each = eigenvalues.clamp_min(0.0).sum(dim=0)  # ascending
    left = int((of_each.cumsum(dim=0) <= left_out * of_each.sum()).sum())
    yield from roots[:, :, left:].unbind(dim=2)


def _places(module: nn.Module) -> dict[str, slice]:
    """Where each parameter that only one name refers to is in the parameter vector."""
    uses = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    places, start = {}, 0
    for name, parameter in module.named_parameters():
        end = start + parameter.numel()
        if uses[id(parameter)] == 1:
            places[name] = slice(start, end)
        start = end
    return places


def _is_plain(layer: nn.Linear | nn.Conv2d) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
