"""A small classification problem in float64, trained to its minimum: L, U with soft targets, V, and a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdaif.distillation import distillation_loss, log_probabilities
from kdaif.influence import InfluenceScores, curvature_at, influence_scores
from kdaif.linalg import logits_of, parameter_vector
from kdaif.records.spec import Solver, Training

TRAINING = Training(temperature=2.0, hard_label_weight=0.7, soft_label_weight=1.5)
L2 = 0.02
N_CLASSES = 3


@dataclass(frozen=True, eq=False)
class Problem:
    labeled: Tensor
    labels: Tensor
    unlabeled: Tensor
    log_targets: Tensor
    weights: Tensor
    flipped: Tensor
    validation: Tensor
    validation_labels: Tensor

    def objective(self, logits: Tensor, weights: Tensor) -> Tensor:
        """J as the product trains it, divided by the sum of the weights, from logits `[L + U, C]`."""
        n = len(self.labels)
        soft = distillation_loss(logits[n:], self.log_targets, TRAINING.temperature)
        hard = functional.cross_entropy(logits[:n], self.labels)
        return TRAINING.hard_label_weight * hard + TRAINING.soft_label_weight * (weights * soft).sum() / weights.sum()

    def validation_loss(self, network: nn.Module) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(network(self.validation), self.validation_labels))


def problem(n_unlabeled: int = 60, flips: int = 12) -> Problem:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(N_CLASSES, 4)) * 1.5

    def draw(n: int) -> tuple[Tensor, Tensor]:
        labels = generator.integers(0, N_CLASSES, n)
        return torch.from_numpy(centres[labels] + generator.normal(size=(n, 4))), torch.from_numpy(labels)

    labeled, labels = draw(12)
    unlabeled, truth = draw(n_unlabeled)
    validation, validation_labels = draw(60)
    flipped = torch.arange(n_unlabeled) < flips
    pseudo = torch.where(flipped, (truth + 1) % N_CLASSES, truth)
    logits = 3.0 * functional.one_hot(pseudo, N_CLASSES).double()
    return Problem(
        labeled,
        labels,
        unlabeled,
        log_probabilities(logits, TRAINING.temperature),
        torch.ones(n_unlabeled, dtype=torch.float64),
        flipped,
        validation,
        validation_labels,
    )


def network(hidden: int | None) -> nn.Module:
    """Logistic regression, or one hidden layer of smooth units."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if hidden is None:
            return nn.Linear(4, N_CLASSES).double()
        return nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, N_CLASSES)).double()


def halfway() -> tuple[nn.Module, Problem]:
    """Before the network fits its flipped targets too, as in the rounds of a job."""
    given, module = problem(), network(16)
    rows = torch.cat([given.labeled, given.unlabeled])
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        given.objective(module(rows), given.weights).backward()
        optimizer.step()
    return module.eval(), given


def minimise(module: nn.Module, given: Problem, weights: Tensor) -> None:
    """To the minimum of J + L2/2 |theta|^2, by L-BFGS."""
    rows = torch.cat([given.labeled, given.unlabeled])
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=500, tolerance_grad=1e-11, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimizer.zero_grad()
        penalty = sum(parameter.square().sum() for parameter in module.parameters())
        loss: Tensor = given.objective(module(rows), weights) + L2 / 2 * penalty
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)


def dense_influence(module: nn.Module, given: Problem, damping: float) -> tuple[np.ndarray, Tensor]:
    """-g^T (H + d I)^-1 grad l_i with every matrix formed, `[N]`; and (H + d I), `[P, P]`."""
    theta = parameter_vector(module)
    rows = torch.cat([given.labeled, given.unlabeled])
    n_labeled, n = len(given.labels), len(given.weights)
    function = logits_of(module, rows)
    jacobian = torch.autograd.functional.jacobian(function, theta)
    temperatures = torch.cat([torch.ones(n_labeled), torch.full((n,), TRAINING.temperature)]).double()
    p = (function(theta) / temperatures[:, None]).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    scale = torch.cat(
        [
            torch.full((n_labeled,), TRAINING.hard_label_weight / n_labeled, dtype=torch.float64),
            TRAINING.soft_label_weight * given.weights / given.weights.sum(),
        ]
    )
    matrix = torch.einsum("m,mcp,mcd,mdq->pq", scale, jacobian, middle, jacobian)
    matrix += damping * torch.eye(len(theta), dtype=torch.float64)
    of_validation = logits_of(module, given.validation)
    gradient = torch.autograd.functional.jacobian(
        lambda t: functional.cross_entropy(of_validation(t), given.validation_labels), theta
    )
    of_unlabeled = logits_of(module, given.unlabeled)
    per_row = torch.autograd.functional.jacobian(
        lambda t: distillation_loss(of_unlabeled(t), given.log_targets, TRAINING.temperature), theta
    )
    return -(per_row @ torch.linalg.solve(matrix, gradient)).numpy(), matrix


def scores_of(
    module: nn.Module,
    given: Problem,
    solver: Solver = "cg",
    training: Training = TRAINING,
    *,
    rows: int = 1000,
    seed: int = 0,
    **options: Any,
) -> InfluenceScores:
    """Of every row of U, with a curvature of so many rows: all of them, unless there are more."""
    curvature = curvature_at(
        module, given.labeled, given.unlabeled, given.weights, training=training, rows=rows, seed=seed
    )
    return influence_scores(
        module,
        curvature,
        given.unlabeled,
        given.log_targets,
        given.validation,
        given.validation_labels,
        temperature=training.temperature,
        solver=solver,
        **options,
    )
