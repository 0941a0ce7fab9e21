import pytest
import torch
from torch import nn

from kdaif.linalg import gauss_newton, logits_of, parameter_vector


def tiny_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def dense_gauss_newton(
    module: nn.Module, rows: torch.Tensor, row_weights: torch.Tensor, temperatures: torch.Tensor
) -> torch.Tensor:
    """sum_m c_m J_m^T (diag p - p p^T) J_m, by brute force: `[P, P]`."""
    theta, function = parameter_vector(module), logits_of(module, rows)
    jacobian = torch.autograd.functional.jacobian(function, theta)
    p = (function(theta) / temperatures[:, None]).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("m,mcp,mcd,mdq->pq", row_weights, jacobian, middle, jacobian)


def test_products_equal_the_dense_matrix() -> None:
    module = tiny_network()
    rows = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([0.1, 0.0, 2.0, 0.5, 1.0, 0.3], dtype=torch.float64)
    temperatures = torch.tensor([1.0, 1.0, 1.0, 3.0, 3.0, 0.5], dtype=torch.float64)
    theta = parameter_vector(module)
    dense = dense_gauss_newton(module, rows, weights, temperatures)
    product = gauss_newton(logits_of(module, rows), theta, weights, temperatures)
    columns = torch.stack([product(unit) for unit in torch.eye(len(theta), dtype=torch.float64)])
    torch.testing.assert_close(columns, dense, rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(dense).min()) > -1e-12


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_middle_factor_is_the_hessian_of_the_scaled_divergence_in_the_logits(temperature: float) -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(4, dtype=torch.float64, generator=generator)
    q = torch.randn(4, dtype=torch.float64, generator=generator).softmax(0)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return temperature**2 * (q * (q.log() - (logits / temperature).log_softmax(0))).sum()

    hessian = torch.autograd.functional.hessian(loss, z)
    p = (z / temperature).softmax(0)
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p))
