from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kdaif.influence import PairInfluence, PairSystem, curvature_at, logit_gradients, pair_system
from kdaif.linalg import head_curvature, head_rows
from kdaif.records.spec import Training

_T, _DAMPING, _SCALE = 2.0, 0.05, 1.5 / 7


def _case() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    rows, held_out = torch.randn(7, 4), torch.randn(6, 4)
    log_targets = torch.log_softmax(torch.randn(7, 3) / _T, dim=1)
    return student, rows, log_targets, held_out, torch.randint(0, 3, (6,))


def _system() -> PairSystem:
    student, rows, _, held_out, labels = _case()
    curvature = curvature_at(student, held_out, rows, torch.ones(7), training=Training(temperature=_T), rows=10, seed=0)
    return pair_system(student, curvature, held_out, labels, damping=_DAMPING)


def _brute_force() -> np.ndarray:
    """dl_j/dw_i of every pair, by autograd gradients and a dense inverse of the matrix that the basis stands for."""
    student, rows, log_targets, held_out, labels = _case()
    head = student[2]
    curvature = curvature_at(student, held_out, rows, torch.ones(7), training=Training(temperature=_T), rows=10, seed=0)
    found = head_curvature(head_rows(student, curvature.features), curvature.row_weights, curvature.temperatures)
    basis = torch.kron(found.outputs, found.inputs)
    dense = basis @ torch.diag(found.eigenvalues.flatten()) @ basis.T + _DAMPING * torch.eye(18, dtype=torch.float64)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        weight, bias = torch.autograd.grad(loss, [head.weight, head.bias])
        return torch.cat([weight, bias[:, None]], dim=1).flatten().double()

    def divergence(row: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_student = torch.log_softmax(student(row) / _T, 0)
        return _T**2 * functional.kl_div(log_student, target, log_target=True, reduction="sum")

    of_rows = torch.stack([gradient(divergence(*pair)) for pair in zip(rows, log_targets, strict=True)])
    of_held_out = torch.stack(
        [gradient(functional.cross_entropy(student(row), label)) for row, label in zip(held_out, labels, strict=True)]
    )
    influence = -of_rows @ torch.linalg.solve(dense, of_held_out.T)
    return np.asarray(_SCALE * (influence - influence.mean(dim=0)))


def _found(most: int) -> PairInfluence:
    student, rows, log_targets, _, _ = _case()
    of_head = head_rows(student, rows)
    gradients = logit_gradients(of_head.logits, log_targets, _T, None)
    system = _system()
    centre = system.along(gradients.double().T @ of_head.inputs.double() / len(rows))
    (found,) = system.extremes(of_head, gradients, centre, _SCALE, most)
    return found


def test_pairs_are_those_of_a_dense_inverse() -> None:
    found, expected = _found(2), _brute_force()
    order = np.argsort(expected, axis=1)
    np.testing.assert_array_equal(found.helped, order[:, :2])
    np.testing.assert_array_equal(found.harmed, order[:, ::-1][:, :2])
    for by, places in ((found.helped_by, found.helped), (found.harmed_by, found.harmed)):
        np.testing.assert_allclose(by, np.take_along_axis(expected, places, 1), rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(found.mean, expected.mean(axis=1), rtol=2e-4, atol=1e-7)


def test_more_than_v_holds_is_all_of_v() -> None:
    found = _found(50)
    assert found.helped.shape == found.harmed_by.shape == (7, 6)
