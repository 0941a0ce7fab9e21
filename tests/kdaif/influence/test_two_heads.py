"""Influence of a student whose soft targets have a head of their own, against every matrix formed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdaif.distillation import distillation_loss
from kdaif.influence import InfluenceScores, curvature_at
from kdaif.linalg import ekfac, logits_of, parameter_vector
from kdaif.records.spec import Solver, Training

from .problem import L2, TRAINING, Problem, problem, scores_of

DUAL = Training(**{**TRAINING.model_dump(), "dual_head": True})


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.head, self.soft_head = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, rows: Tensor) -> Tensor:
        features = self.body(rows)
        return torch.cat([self.head(features), self.soft_head(features)], dim=1)


def trained(steps: int = 150) -> tuple[Heads, Problem]:
    given = problem()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Heads().double()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(module, given, given.weights).backward()
        optimizer.step()
    return module.eval(), given


def objective(module: nn.Module, given: Problem, weights: Tensor) -> Tensor:
    hard = functional.cross_entropy(module(given.labeled)[:, :3], given.labels)
    soft = distillation_loss(module(given.unlabeled)[:, 3:], given.log_targets, DUAL.temperature)
    penalty = sum(parameter.square().sum() for parameter in module.parameters())
    mean = (weights * soft).sum() / weights.sum()
    found: Tensor = DUAL.hard_label_weight * hard + DUAL.soft_label_weight * mean + L2 / 2 * penalty
    return found


def scores(module: nn.Module, given: Problem, solver: Solver, **options: Any) -> InfluenceScores:
    return scores_of(
        module, given, solver, DUAL, **{"blocks": 4, "steps": 400, "tolerance": 1e-12, "damping": 0.05, **options}
    )


def dense(module: nn.Module, given: Problem, damping: float) -> np.ndarray:
    """-g^T (H + d I)^-1 grad l_i: g of the first head on V, l_i of the second head on U, H of each head on its rows."""
    theta = parameter_vector(module)

    def curvature(rows: Tensor, head: slice, temperature: float, row_weights: Tensor) -> Tensor:
        function = logits_of(module, rows)
        jacobian = torch.autograd.functional.jacobian(lambda t: function(t)[:, head], theta)
        p = (function(theta)[:, head] / temperature).softmax(1)
        middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        return torch.einsum("m,mcp,mcd,mdq->pq", row_weights, jacobian, middle, jacobian)

    n = len(given.labels)
    of_labeled = torch.full((n,), DUAL.hard_label_weight / n, dtype=torch.float64)
    of_unlabeled = DUAL.soft_label_weight * given.weights / given.weights.sum()
    matrix = curvature(given.labeled, slice(0, 3), 1.0, of_labeled)
    matrix = matrix + curvature(given.unlabeled, slice(3, 6), DUAL.temperature, of_unlabeled)
    matrix += damping * torch.eye(len(theta), dtype=torch.float64)
    on_validation, on_unlabeled = logits_of(module, given.validation), logits_of(module, given.unlabeled)
    gradient = torch.autograd.functional.jacobian(
        lambda t: functional.cross_entropy(on_validation(t)[:, :3], given.validation_labels), theta
    )
    per_row = torch.autograd.functional.jacobian(
        lambda t: distillation_loss(on_unlabeled(t)[:, 3:], given.log_targets, DUAL.temperature), theta
    )
    return -(per_row @ torch.linalg.solve(matrix, gradient)).numpy()


@pytest.mark.parametrize("derivative", ["forward", "finite_difference"])
def test_conjugate_gradient_run_to_the_end_equals_the_dense_answer(derivative: str) -> None:
    module, given = trained()
    found, expected = scores(module, given, "cg", derivative=derivative), dense(module, given, 0.05)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found.influence, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    with torch.no_grad():
        both = module(given.unlabeled).numpy()
    np.testing.assert_allclose(found.logits, both[:, :3], rtol=1e-5)
    np.testing.assert_allclose(found.taught_logits, both[:, 3:], rtol=1e-5)


def test_ekfac_sees_the_curvature_of_both_heads_and_their_body() -> None:
    module, given = trained()
    curvature = curvature_at(module, given.labeled, given.unlabeled, given.weights, training=DUAL, rows=1000, seed=0)
    factors = ekfac(module, curvature.features, curvature.row_weights, curvature.temperatures)
    assert not factors.rest.any()
    dense = torch.stack([curvature.product(unit) for unit in torch.eye(len(curvature.theta), dtype=torch.float64)])
    places = torch.arange(len(dense), dtype=torch.float64)[None]
    assert len(factors.blocks) == 3
    for block in factors.blocks:
        order = block.layer.matrix(places)[0].flatten().long()
        basis = torch.kron(block.outputs.contiguous(), block.inputs.contiguous())
        along = (basis.T @ dense[order[:, None], order] @ basis).diagonal()
        torch.testing.assert_close(block.eigenvalues.flatten(), along, rtol=1e-8, atol=1e-12)
    assert np.isfinite(scores(module, given, "ekfac").influence).all()


def test_the_last_layer_alone_is_refused() -> None:
    module, given = trained(1)
    with pytest.raises(ValueError, match="no head"):
        scores(module, given, "head")
