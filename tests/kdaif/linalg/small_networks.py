"""Tiny networks in float64, and their curvature by loops over rows, classes and pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Given:
    network: nn.Sequential
    rows: Tensor
    row_weights: Tensor
    temperatures: Tensor
    right_sides: Tensor


def mlp() -> Given:
    """Fewer rows than inputs, so that the first layer's eigenbasis is not complete."""
    return _given(lambda: nn.Sequential(nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), (9,))


def cnn() -> Given:
    def build() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(2),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Conv2d(2, 3, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(12, 4),
            nn.Tanh(),
            nn.Linear(4, 3),
        )

    return _given(build, (1, 6, 6))


def _given(build: Callable[[], nn.Sequential], shape: tuple[int, ...], n: int = 6) -> Given:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build().double()
        for layer in network:
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean = torch.randn_like(layer.weight.detach())
                layer.running_var = 0.5 + torch.rand_like(layer.weight.detach())
        temperatures = torch.ones(n, dtype=torch.float64)
        temperatures[n // 2 :] = 2.0
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        return Given(
            network.eval(),
            torch.randn(n, *shape, dtype=torch.float64),
            torch.rand(n, dtype=torch.float64),
            temperatures,
            torch.randn(2, n_parameters, dtype=torch.float64),
        )


def scores_of_classes(given: Given) -> Iterator[tuple[int, float, list[tuple[nn.Module, Tensor, Tensor]], Tensor]]:
    """Per row and class: row, weight * probability, (layer, its input, gradient of its output), gradient `[P]`.

    The gradient is that of T log p_class, p at the row's temperature.
    """
    for m, row in enumerate(given.rows):
        for c in range(3):
            value, steps = row[None], []
            for layer in given.network:
                before, value = value, layer(value)
                steps.append((layer, before, value))
            t = given.temperatures[m]
            score = t * torch.log_softmax(value[0] / t, dim=0)[c]
            of_outputs = torch.autograd.grad(score, [output for _, _, output in steps], retain_graph=True)
            of_parameters = torch.autograd.grad(score, list(given.network.parameters()))
            chance = float(given.row_weights[m] * torch.softmax(value[0].detach() / t, dim=0)[c])
            seen = [(layer, before.detach(), g) for (layer, before, _), g in zip(steps, of_outputs, strict=True)]
            yield m, chance, seen, torch.cat([g.flatten() for g in of_parameters])


def dense_ekfac(given: Given, rest_curvature: float) -> Tensor:
    """The EK-FAC matrix, formed: `[P, P]`."""
    scores = list(scores_of_classes(given))
    matrix = rest_curvature * torch.eye(scores[0][3].numel(), dtype=torch.float64)
    start = 0
    for number, layer in enumerate(given.network):
        size = sum(parameter.numel() for parameter in layer.parameters())
        if isinstance(layer, nn.Linear | nn.Conv2d):
            of_inputs, of_outputs = 0.0, 0.0
            for m, chance, seen, _ in scores:
                for pixel in _pixels(*seen[number]):
                    met, gradient = pixel
                    of_inputs = of_inputs + given.row_weights[m] * torch.outer(met, met)
                    of_outputs = of_outputs + chance * torch.outer(gradient, gradient)
            basis = torch.kron(torch.linalg.eigh(of_outputs).eigenvectors, torch.linalg.eigh(of_inputs).eigenvectors)
            gradients = [(chance, _as_matrix(g[start : start + size], layer).flatten()) for _, chance, _, g in scores]
            eigenvalues = sum(chance * (basis.T @ gradient).square() for chance, gradient in gradients)
            block = basis @ torch.diag(eigenvalues) @ basis.T
            order = _as_matrix(torch.arange(start, start + size), layer).flatten()
            matrix[order[:, None], order] = block
        start += size
    return matrix


def _as_matrix(vector: Tensor, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """`[O, I]`, the bias as last column."""
    n_outputs = layer.weight.shape[0]
    weight = vector[: layer.weight.numel()].view(n_outputs, -1)
    return weight if layer.bias is None else torch.cat([weight, vector[-n_outputs:, None]], dim=1)


def _pixels(layer: nn.Module, before: Tensor, gradient: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What the weight matrix met and the gradient of what came out, place by place."""
    one = torch.ones(1, dtype=torch.float64)
    if isinstance(layer, nn.Linear):
        yield torch.cat([before[0], one]), gradient[0]
    elif isinstance(layer, nn.Conv2d):
        edge, (height, width) = int(layer.padding[0]), layer.kernel_size
        padded = nn.functional.pad(before[0], (edge, edge, edge, edge))
        for i in range(gradient.shape[2]):
            for j in range(gradient.shape[3]):
                patch = padded[:, i : i + height, j : j + width].flatten()
                yield patch if layer.bias is None else torch.cat([patch, one]), gradient[0, :, i, j]
