import pytest
import torch
from torch import nn

from kdaif.linalg import (
    curved,
    ekfac,
    fisher_roots,
    gauss_newton,
    head_probabilities,
    layers_of,
    logits_of,
    parameter_vector,
)

from .small_networks import Given, cnn, dense_ekfac, mlp, scores_of_classes

REST = 0.3


def dense_gauss_newton(given: Given) -> torch.Tensor:
    theta = parameter_vector(given.network)
    product = gauss_newton(logits_of(given.network, given.rows), theta, given.row_weights, given.temperatures)
    return torch.stack([product(unit) for unit in torch.eye(len(theta), dtype=torch.float64)])


@pytest.mark.parametrize("given", [mlp(), cnn()], ids=["mlp", "cnn"])
@pytest.mark.parametrize("damping", [1e-3, 0.5])
def test_the_solve_equals_the_inverse_of_the_dense_ekfac_matrix(given: Given, damping: float) -> None:
    factors = ekfac(given.network, given.rows, given.row_weights, given.temperatures)
    matrix = dense_ekfac(given, REST) + damping * torch.eye(given.right_sides.shape[1], dtype=torch.float64)
    expected = torch.linalg.solve(matrix, given.right_sides.T).T
    found = factors.solve(given.right_sides, damping, REST)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("given", [mlp(), cnn()], ids=["mlp", "cnn"])
def test_the_curvature_is_the_expectation_over_classes_and_the_eigenvalues_are_its_diagonal(given: Given) -> None:
    dense = dense_gauss_newton(given)
    brute = sum(chance * torch.outer(gradient, gradient) for _, chance, _, gradient in scores_of_classes(given))
    torch.testing.assert_close(dense, brute, rtol=1e-9, atol=1e-12)
    places = torch.arange(len(dense), dtype=torch.float64)[None]
    for block in ekfac(given.network, given.rows, given.row_weights, given.temperatures).blocks:
        order = block.layer.matrix(places)[0].flatten().long()
        basis = torch.kron(block.outputs.contiguous(), block.inputs.contiguous())
        along = (basis.T @ dense[order[:, None], order] @ basis).diagonal()
        torch.testing.assert_close(block.eigenvalues.flatten(), along, rtol=1e-8, atol=1e-12)


def test_roots_of_classes_add_up_to_the_middle_factor() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 30.0, 1.0]], dtype=torch.float64)
    weights, temperatures = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.0, 3.0]).double()
    p = (logits / temperatures[:, None]).softmax(1)
    expected = weights[:, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    found = sum(root[:, :, None] * root[:, None, :] for root in fisher_roots(logits, weights, temperatures))
    torch.testing.assert_close(found, expected)


def test_roots_of_two_heads_add_up_to_the_middle_factor_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    weights = torch.tensor([[0.5, 0.0], [2.0, 0.0], [0.0, 1.0], [0.3, 0.7]]).double()
    temperatures = torch.tensor([[1.0, 3.0]]).double().expand(4, 2)
    expected = torch.zeros(4, 6, 6, dtype=torch.float64)
    for head in (0, 1):
        own = slice(3 * head, 3 * head + 3)
        p = (logits[:, own] / temperatures[:, head, None]).softmax(1)
        middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        expected[:, own, own] = weights[:, head, None, None] * middle
    roots = list(fisher_roots(logits, weights, temperatures))
    torch.testing.assert_close(sum(root[:, :, None] * root[:, None, :] for root in roots), expected)
    change = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    found = curved(change, head_probabilities(logits, temperatures), weights)
    torch.testing.assert_close(found, torch.einsum("mcd,md->mc", expected, change))


@pytest.mark.parametrize("left_out", [1e-12, 0.05, 0.4])
def test_leading_roots_are_the_fewest_that_leave_out_no_more_than_asked(left_out: float) -> None:
    logits = 3 * torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights, temperatures = torch.linspace(0.1, 2, 20).double(), torch.full((20,), 2.0).double()
    p = (logits / temperatures[:, None]).softmax(1)
    whole = weights[:, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    roots = list(fisher_roots(logits, weights, temperatures, left_out))
    missing = whole - sum(root[:, :, None] * root[:, None, :] for root in roots)
    share = float(missing.diagonal(dim1=1, dim2=2).sum() / whole.diagonal(dim1=1, dim2=2).sum())
    weakest = float(roots[0].square().sum() / whole.diagonal(dim1=1, dim2=2).sum())
    assert -1e-12 <= share <= left_out < share + weakest
    assert len(roots) < 6  # the middle factor has one dimension less than there are classes
    assert float(torch.linalg.eigvalsh(missing).min()) > -1e-12


def test_leading_roots_of_two_heads_are_few_and_leave_out_no_more_of_either() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20, 12, dtype=torch.float64, generator=generator)
    labelled = (torch.arange(20) < 8).double()
    weights = torch.stack([labelled, 1 - labelled], dim=1)  # as a row of L and of U has
    temperatures = torch.tensor([[1.0, 2.0]]).double().expand(20, 2)
    whole, some = (
        sum(root[:, :, None] * root[:, None, :] for root in fisher_roots(logits, weights, temperatures, left_out))
        for left_out in (0.0, 0.05)
    )
    for own in (slice(0, 6), slice(6, 12)):
        traces = [found[:, own, own].diagonal(dim1=1, dim2=2).sum() for found in (whole, some)]
        assert 0 <= float(1 - traces[1] / traces[0]) <= 0.05
    assert len(list(fisher_roots(logits, weights, temperatures, 0.05))) < 10


@pytest.mark.parametrize("given", [mlp(), cnn()], ids=["mlp", "cnn"])
def test_chunks_do_not_change_the_factors(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ekfac(given.network, given.rows, given.row_weights, given.temperatures)
    monkeypatch.setitem(ekfac.__globals__, "_CHUNK_NUMBERS", 1)
    split = ekfac(given.network, given.rows, given.row_weights, given.temperatures)
    for damping in (1e-3, 0.5):
        torch.testing.assert_close(
            split.solve(given.right_sides, damping, REST), whole.solve(given.right_sides, damping, REST)
        )


def test_parameters_of_other_layers_get_the_identity() -> None:
    given = cnn()
    factors = ekfac(given.network, given.rows, given.row_weights, given.temperatures)
    # The two gains and two shifts of BatchNorm come right after the first convolution's 18 weights.
    assert torch.equal(factors.rest.nonzero().flatten(), torch.arange(18, 22))
    found = factors.solve(given.right_sides, 0.2, REST)[:, 18:22]
    torch.testing.assert_close(found, given.right_sides[:, 18:22] / (REST + 0.2))


def test_layers_whose_curvature_is_no_kronecker_product_are_left_out() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped = nn.Conv2d(2, 2, 3, groups=2, padding=1)
            self.named = nn.Conv2d(2, 2, 3, padding="same")
            self.mirrored = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
            self.twice = nn.Conv2d(2, 2, 1)
            self.first, self.tied = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
            self.tied.weight = self.first.weight
            self.head = nn.Linear(2 * 16, 3)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            rows = self.twice(self.twice(self.mirrored(self.named(self.grouped(rows)))))
            logits: torch.Tensor = self.head(self.tied(self.first(rows)).flatten(1))
            return logits

    network = Odd().eval()
    assert [layer.module for layer in layers_of(network, torch.zeros(1, 2, 4, 4))] == [network.head]


def test_a_layer_s_matrix_and_its_places_are_inverse() -> None:
    given = mlp()
    back = torch.zeros_like(given.right_sides)
    for layer in layers_of(given.network, given.rows[:1]):
        layer.put(layer.matrix(given.right_sides), back)
    assert torch.equal(back, given.right_sides)
