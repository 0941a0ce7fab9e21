"""The pieces that a library leaves to its user: the gradient on V, and the derivative of each row's loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.influence.work import Work

ROWS_PER_BATCH = 250
"""For every library: activations then stay in the cache. All rows at once cost the convolutional net thrice as much."""


def validation_gradient(work: Work) -> list[Tensor]:
    """Of the mean cross-entropy over V, one tensor per parameter."""
    loss = functional.cross_entropy(work.model(work.validation_features), work.validation_labels)
    return list(torch.autograd.grad(loss, list(work.model.parameters())))


def batches(work: Work, size: int = ROWS_PER_BATCH) -> list[tuple[Tensor, Tensor]]:
    """The training rows and labels, cut."""
    return list(zip(torch.split(work.features, size), torch.split(work.labels, size), strict=True))


def changes_along(work: Work, direction: list[Tensor]) -> Tensor:
    """-dl_i along the direction, `[N]`, by forward mode."""
    names = [name for name, _ in work.model.named_parameters()]
    parameters = dict(zip(names, (p.detach() for p in work.model.parameters()), strict=True))
    tangents = dict(zip(names, direction, strict=True))
    found = []
    for features, labels in batches(work):

        def losses(given: dict[str, Tensor], features: Tensor = features, labels: Tensor = labels) -> Tensor:
            logits = torch.func.functional_call(work.model, given, (features,))
            each: Tensor = functional.cross_entropy(logits, labels, reduction="none")
            return each

        with torch.no_grad():
            found.append(-torch.func.jvp(losses, (parameters,), (tangents,))[1])
    return torch.cat(found)


class Linearised(nn.Module):
    """The network's first-order expansion at its parameters: the Hessian of a loss of it is the Gauss-Newton matrix.

    For libraries that have the Hessian alone, whose damped inverse need not even be positive.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = [model]  # a list, so that its parameters are not this module's
        self._names = [name for name, _ in model.named_parameters()]
        self.moving = nn.ParameterList([nn.Parameter(p.detach().clone()) for p in model.parameters()])

    def forward(self, features: Tensor) -> Tensor:
        """The expansion, `[M, C]`; equal to the network's output where the parameters have not moved."""
        (model,) = self._model
        at = {name: p.detach() for name, p in model.named_parameters()}
        moved = {name: now - at[name] for name, now in zip(self._names, self.moving, strict=True)}

        def logits(given: dict[str, Tensor]) -> Tensor:
            output: Tensor = torch.func.functional_call(model, given, (features,))
            return output

        results = torch.func.jvp(logits, (at,), (moved,))
        expanded: Tensor = results[0] + results[1]
        return expanded
