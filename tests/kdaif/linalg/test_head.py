import time

import pytest
import torch
from torch import nn

from kdaif.linalg import gauss_newton, head_curvature, head_rows, logits_of, parameter_vector

from .small_networks import Given, cnn, mlp

C, I = 3, 5  # classes, and inputs of the head with the bias  # noqa: E741


def as_matrices(vectors: torch.Tensor) -> torch.Tensor:
    """The head's part of parameter vectors, weight first, as `[K, C, I]`."""
    weight, bias = vectors[:, -C * I : -C].view(-1, C, I - 1), vectors[:, -C:]
    return torch.cat([weight, bias[:, :, None]], dim=2)


def dense(given: Given) -> torch.Tensor:
    """The exact block of the head, `[C I, C I]`, in the order of `as_matrices`."""
    theta = parameter_vector(given.network)
    product = gauss_newton(logits_of(given.network, given.rows), theta, given.row_weights, given.temperatures)
    units = torch.eye(len(theta), dtype=torch.float64)[-C * I :]
    rows = as_matrices(torch.stack([product(unit) for unit in units])).flatten(1)
    return as_matrices(torch.cat([torch.zeros(C * I, len(theta) - C * I), rows.T], dim=1)).flatten(1)


@pytest.mark.parametrize("many", [False, True], ids=["few classes", "many"])
@pytest.mark.parametrize("given", [mlp(), cnn()], ids=["mlp", "cnn"])
def test_it_is_the_exact_matrix_seen_in_a_kronecker_basis(
    given: Given, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if many:
        monkeypatch.setattr("kdaif.linalg.head._MOST_DECOMPOSED_CLASSES", C - 1)
    curvature = head_curvature(head_rows(given.network, given.rows), given.row_weights, given.temperatures)
    outputs = curvature.of_outputs(torch.eye(C))
    assert (curvature.outputs is None) is many
    basis = torch.kron(outputs.contiguous(), curvature.inputs.contiguous())
    torch.testing.assert_close(basis.T @ basis, torch.eye(C * I, dtype=torch.float64))
    exact = dense(given)
    torch.testing.assert_close(exact, exact.T)
    torch.testing.assert_close(curvature.eigenvalues.flatten(), (basis.T @ exact @ basis).diagonal())
    approximate = basis @ torch.diag(curvature.eigenvalues.flatten()) @ basis.T
    # No other diagonal in this basis is nearer, and it is near at all.
    assert float((approximate - exact).norm() / exact.norm()) < (0.8 if many else 0.5)
    given_sides = as_matrices(given.right_sides)
    expected = torch.linalg.solve(approximate + 0.05 * torch.eye(C * I), given_sides.flatten(1).T).T
    torch.testing.assert_close(curvature.solve(given_sides, 0.05).flatten(1), expected)
    along = torch.einsum("ki,ij,kj->k", given_sides.flatten(1), approximate, given_sides.flatten(1))
    torch.testing.assert_close(curvature.along(given_sides), along)


def test_with_rows_that_share_one_prediction_it_is_exact() -> None:
    given = mlp()
    rows = head_rows(given.network, given.rows)
    same = type(rows)(rows.inputs, rows.logits[:1].expand_as(rows.logits))
    weights = torch.ones(len(rows.inputs), dtype=torch.float64)
    curvature = head_curvature(same, weights, weights)
    p = same.logits[0].double().softmax(0)
    exact = torch.kron(torch.diag(p) - torch.outer(p, p), rows.inputs.T @ rows.inputs)
    assert curvature.outputs is not None
    basis = torch.kron(curvature.outputs, curvature.inputs)
    torch.testing.assert_close(basis @ torch.diag(curvature.eigenvalues.flatten()) @ basis.T, exact)


def test_the_inputs_and_logits_are_those_of_the_last_layer() -> None:
    given = cnn()
    rows = head_rows(given.network, given.rows)
    with torch.no_grad():
        torch.testing.assert_close(rows.logits, given.network(given.rows))
    theta = parameter_vector(given.network)
    torch.testing.assert_close(rows.inputs @ as_matrices(theta[None])[0].T, rows.logits)


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    with pytest.raises(ValueError, match="no head"):
        head_rows(network, torch.zeros(2, 2))


def test_ten_thousand_classes_are_not_decomposed() -> None:
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10_000))
    rows = head_rows(network, torch.randn(16, 4, generator=generator))
    started = time.process_time()
    curvature = head_curvature(rows, torch.full((16,), 1 / 16), torch.ones(16))
    solved = curvature.solve(torch.randn(2, 10_000, 9, generator=generator), 1e-3)
    assert time.process_time() - started < 5  # a decomposition takes minutes
    assert torch.isfinite(solved).all()
