from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kdaif.influence import curvature_at
from kdaif.influence.pairs import pair_influence
from kdaif.linalg import head_curvature, head_rows
from kdaif.records.spec import Training

_T, _DAMPING = 2.0, 0.05


def _case() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    rows, held_out = torch.randn(7, 4), torch.randn(6, 4)
    log_targets = torch.log_softmax(torch.randn(7, 3) / _T, dim=1)
    return student, rows, log_targets, held_out, torch.randint(0, 3, (6,))


def _brute_force() -> np.ndarray:
    """Each pair by autograd gradients and a dense inverse of the matrix that the closed form stands for."""
    student, rows, log_targets, held_out, labels = _case()
    head = student[2]
    curvature = curvature_at(student, held_out, rows, torch.ones(7), training=Training(temperature=_T), rows=10, seed=0)
    found = head_curvature(head_rows(student, curvature.features), curvature.row_weights, curvature.temperatures)
    basis = torch.kron(found.outputs, found.inputs)
    dense = basis @ torch.diag(found.eigenvalues.flatten()) @ basis.T + _DAMPING * torch.eye(18, dtype=torch.float64)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        weight, bias = torch.autograd.grad(loss, [head.weight, head.bias])
        return torch.cat([weight, bias[:, None]], dim=1).flatten().double()

    of_rows = [
        gradient(
            _T**2 * functional.kl_div(torch.log_softmax(student(row) / _T, 0), target, log_target=True, reduction="sum")
        )
        for row, target in zip(rows, log_targets, strict=True)
    ]
    of_held_out = [
        gradient(functional.cross_entropy(student(row), label)) for row, label in zip(held_out, labels, strict=True)
    ]
    solved = torch.linalg.solve(dense, torch.stack(of_held_out).T)
    return np.asarray(-(torch.stack(of_rows) @ solved))


def test_pairs_are_those_of_a_dense_inverse() -> None:
    student, rows, log_targets, held_out, labels = _case()
    curvature = curvature_at(student, held_out, rows, torch.ones(7), training=Training(temperature=_T), rows=10, seed=0)
    found = pair_influence(
        student, curvature, rows, log_targets, held_out, labels, temperature=_T, damping=_DAMPING, most=2
    )
    expected = _brute_force()
    order = np.argsort(expected, axis=1)
    np.testing.assert_array_equal(found.helped, order[:, :2])
    np.testing.assert_array_equal(found.harmed, order[:, ::-1][:, :2])
    np.testing.assert_allclose(found.helped_by, np.take_along_axis(expected, order[:, :2], 1), rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(
        found.harmed_by, np.take_along_axis(expected, order[:, ::-1][:, :2], 1), rtol=2e-4, atol=1e-6
    )


def test_more_than_v_holds_is_all_of_v() -> None:
    student, rows, log_targets, held_out, labels = _case()
    curvature = curvature_at(student, held_out, rows, torch.ones(7), training=Training(temperature=_T), rows=10, seed=0)
    found = pair_influence(
        student, curvature, rows, log_targets, held_out, labels, temperature=_T, damping=_DAMPING, most=50
    )
    assert found.helped.shape == found.harmed_by.shape == (7, 6)
