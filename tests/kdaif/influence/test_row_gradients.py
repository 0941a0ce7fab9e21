"""Influence is that of the loss that is trained, whatever it is, against finite differences in float64."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdaif.distillation import distillation_loss, soft_losses
from kdaif.influence import RowLoss, logit_gradients
from kdaif.linalg import logits_of, parameter_vector
from kdaif.records.spec import Solver, Training

from .problem import TRAINING, Problem, dense_influence, minimise, network, problem, scores_of

OTHERS: list[dict[str, Any]] = [
    {"loss": "reverse_kl"},
    {"loss": "symmetric_kl"},
    {"loss": "dkd"},
    {"standardise_logits": True},
]
named = pytest.mark.parametrize("other", OTHERS, ids=lambda other: "-".join(map(str, other.values())))
HEAD = 8 * 3 + 3


def loss_of(other: dict[str, Any]) -> RowLoss:
    return partial(soft_losses, training=Training(**{**TRAINING.model_dump(), **other}))


def trained() -> tuple[nn.Module, Problem]:
    given, module = problem(), network(8)
    minimise(module, given, given.weights)
    return module.eval(), given


def per_row_gradients(module: nn.Module, given: Problem, row_loss: RowLoss) -> Tensor:
    """Of each row's loss in the parameters, by central differences, `[N, P]`."""
    theta, logits = parameter_vector(module), logits_of(module, given.unlabeled)
    steps = 1e-6 * torch.eye(len(theta), dtype=torch.float64)
    with torch.no_grad():
        changes = [
            row_loss(logits(theta + step), given.log_targets) - row_loss(logits(theta - step), given.log_targets)
            for step in steps
        ]
    return torch.stack(changes, dim=1) / 2e-6


def scores(module: nn.Module, given: Problem, solver: Solver, row_loss: RowLoss | None, **options: Any) -> np.ndarray:
    told = {"blocks": 4, "steps": 200, "tolerance": 1e-12, "row_loss": row_loss, **options}
    return scores_of(module, given, solver, **told).influence


def test_the_closed_form_of_the_default_is_the_gradient_of_its_loss() -> None:
    given = problem()
    logits = torch.randn(len(given.weights), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    default = partial(distillation_loss, temperature=TRAINING.temperature)
    closed, differentiated = (logit_gradients(logits, given.log_targets, 2.0, loss) for loss in (None, default))
    torch.testing.assert_close(differentiated, closed)


@named
def test_influence_through_all_parameters_is_that_of_the_trained_loss(other: dict[str, Any]) -> None:
    module, given = trained()
    matrix = dense_influence(module, given, damping=0.01)[1]
    of_validation = logits_of(module, given.validation)
    gradient = torch.autograd.functional.jacobian(
        lambda t: functional.cross_entropy(of_validation(t), given.validation_labels), parameter_vector(module)
    )
    per_row = per_row_gradients(module, given, loss_of(other))
    exact = -(per_row @ torch.linalg.solve(matrix, gradient)).numpy()
    found = scores(module, given, "cg", loss_of(other), damping=0.01)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
    assert np.abs(found - scores(module, given, "cg", None, damping=0.01)).max() > 0.05 * np.abs(exact).max()


@named
def test_influence_through_the_head_is_that_of_the_trained_loss(other: dict[str, Any]) -> None:
    module, given = trained()
    of_validation = logits_of(module, given.validation)
    gradient = torch.autograd.functional.jacobian(
        lambda t: functional.cross_entropy(of_validation(t), given.validation_labels), parameter_vector(module)
    )
    per_row = per_row_gradients(module, given, loss_of(other))
    # Where damping drowns the curvature, the head's solve is exact.
    exact = -(per_row[:, -HEAD:] @ gradient[-HEAD:]).numpy() / 1e4
    found = scores(module, given, "head", loss_of(other), damping=1e4)
    np.testing.assert_allclose(found, exact, rtol=1e-2, atol=1e-2 * np.abs(exact).max())
    assert np.abs(found - scores(module, given, "head", None, damping=1e4)).max() > 0.05 * np.abs(exact).max()
