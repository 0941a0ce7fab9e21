"""A scoring is of the loss that the job trains, whichever it is: its losses, its influence and its blended targets."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from kdaif.distillation import blended_log_targets, soft_log_targets, soft_losses
from kdaif.rounds import student_of
from kdaif.rounds.arm_rows import arm_rows
from kdaif.rounds.reweighting import Weighting, score_rows

from .test_train_arm import CPU, data, run, spec, wrong_targets
from .test_training_options import with_training

SETTINGS: list[dict[str, Any]] = [
    {},
    {"loss": "reverse_kl"},
    {"loss": "dkd"},
    {"standardise_logits": True},
    {"loss": "dkd", "standardise_logits": True},
]
named = pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))


@named
def test_losses_in_the_table_and_blended_targets_are_of_the_chosen_loss(settings: dict[str, Any]) -> None:
    given, chosen = data(60), with_training(spec(), **settings)
    targets, (first, second, _) = wrong_targets(given, 0.4), run("influence", given, chosen)
    assert second.weights is not None
    table = second.weights.table()
    at = {row_id: place for place, row_id in enumerate(given.unlabeled.ids.tolist())}
    order = [at[row_id] for row_id in table.column("id").to_pylist()]
    of_teacher = soft_log_targets(torch.from_numpy(targets.logits), chosen.training)
    with torch.no_grad():
        logits = student_of(first.state, chosen, given)(torch.from_numpy(given.unlabeled.features))
    expected = soft_losses(logits, of_teacher, chosen.training).numpy()[order]
    np.testing.assert_allclose(table.column("distillation_loss").to_numpy(), expected, rtol=1e-4, atol=1e-5)

    share = torch.from_numpy(1 / (1 + np.exp(-2 * table.column("z_agreement").to_numpy().astype(np.float64))))
    believed = soft_log_targets(first.state.tensors["beliefs/probabilities"].clamp_min(1e-8).log(), chosen.training)
    blended = blended_log_targets(of_teacher[order], believed[order], share.float())
    found = second.state.tensors["weighting/log_targets"][order]
    torch.testing.assert_close(found.exp(), blended.exp(), rtol=1e-3, atol=1e-4)
    assert (found - of_teacher[order]).abs().max() > 0.1


@named
def test_influence_in_an_arm_is_of_the_chosen_loss(settings: dict[str, Any]) -> None:
    given = data(30)
    # Where damping drowns the curvature, influence is the product of two gradients of the last layer.
    chosen = with_training(spec(damping=1e4, solver="head"), **settings)
    targets = wrong_targets(given, 0.4)
    student = student_of(run("uniform", given, chosen, targets=targets)[0].state, chosen, given)
    rows = arm_rows(given, targets, chosen.training, CPU)
    found = score_rows(student, rows, Weighting(np.ones(30), rows.teacher_log_targets), chosen, 0).influence

    head = list(student.head.parameters())

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, head, retain_graph=True)])

    of_validation = gradient(functional.cross_entropy(student(rows.validation.features), rows.validation.labels))
    of_teacher = soft_log_targets(torch.from_numpy(targets.logits), chosen.training)
    losses = soft_losses(student(rows.features), of_teacher, chosen.training)
    expected = [-float(gradient(loss) @ of_validation) / 1e4 for loss in losses]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
