import pytest
import torch
from torch import nn

from kdaif.linalg import gauss_newton, head_solve, logits_of, parameter_vector

from .small_networks import Given, cnn, mlp

HEAD = 4 * 3 + 3


@pytest.mark.parametrize("given", [mlp(), cnn()], ids=["mlp", "cnn"])
@pytest.mark.parametrize("largest_dense", [2048, 0], ids=["cholesky", "conjugate gradient"])
def test_the_solve_equals_the_dense_one_on_the_last_layer(
    given: Given, largest_dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(head_solve.__globals__, "_LARGEST_DENSE", largest_dense)
    theta = parameter_vector(given.network)
    product = gauss_newton(logits_of(given.network, given.rows), theta, given.row_weights, given.temperatures)
    identity = torch.eye(len(theta), dtype=torch.float64)
    dense = torch.stack([product(unit) for unit in identity])[-HEAD:, -HEAD:] + 0.05 * identity[-HEAD:, -HEAD:]
    expected = torch.linalg.solve(dense, given.right_sides[:, -HEAD:].T).T
    found = head_solve(
        given.network, given.rows, given.row_weights, given.temperatures, given.right_sides, damping=0.05
    )
    torch.testing.assert_close(found[:, -HEAD:], expected, rtol=1e-5, atol=1e-6)
    assert not found[:, :-HEAD].any()


def test_a_network_that_does_not_end_in_a_linear_layer_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    rows = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="no head"):
        head_solve(network, rows, torch.ones(2), torch.ones(2), torch.zeros(1, 9), damping=0.1)
