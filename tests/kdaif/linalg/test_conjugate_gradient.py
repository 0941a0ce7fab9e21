import pytest
import torch

from kdaif.linalg import conjugate_gradient


def positive_definite(n: int = 12) -> torch.Tensor:
    factor = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return factor @ factor.T + 0.5 * torch.eye(n, dtype=torch.float64)


def right_sides(n: int = 12) -> torch.Tensor:
    return torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_solution_equals_the_dense_one() -> None:
    a, b = positive_definite(), right_sides()
    solved = conjugate_gradient(lambda v: a @ v, b, steps=60, tolerance=1e-12)
    torch.testing.assert_close(solved.x, torch.linalg.solve(a, b.T).T, rtol=1e-8, atol=1e-10)
    assert float(solved.residuals.max()) < 1e-11
    assert solved.stopped == 0


def test_the_reported_residual_is_the_true_one_when_stopped_early() -> None:
    a, b = positive_definite(), right_sides()
    solved = conjugate_gradient(lambda v: a @ v, b, steps=3)
    true = (b - solved.x @ a).norm(dim=1) / b.norm(dim=1)
    torch.testing.assert_close(solved.residuals.double(), true, rtol=1e-6, atol=1e-8)
    assert solved.steps == 3


def test_a_start_at_the_solution_takes_no_step_and_a_bad_start_is_dropped() -> None:
    a, b = positive_definite(), right_sides()
    exact = torch.linalg.solve(a, b.T).T
    assert conjugate_gradient(lambda v: a @ v, b, steps=9, start=exact).steps == 0
    for bad in (exact + 1e6, torch.full_like(b, torch.nan), torch.ones(2, 12, dtype=torch.float64)):
        cold = conjugate_gradient(lambda v: a @ v, b, steps=4)
        assert torch.equal(conjugate_gradient(lambda v: a @ v, b, steps=4, start=bad).x, cold.x)


def test_d17_a_singular_matrix_is_solved_with_damping() -> None:
    generator = torch.Generator().manual_seed(3)
    columns = torch.randn(30, 5, dtype=torch.float64, generator=generator)
    columns = torch.cat([columns, columns[:, :1]], dim=1)
    hessian = columns.T @ columns / 30
    assert torch.linalg.matrix_rank(hessian) == 5
    b = torch.randn(1, 6, dtype=torch.float64, generator=generator)
    damped = hessian + 0.01 * torch.eye(6, dtype=torch.float64)
    solved = conjugate_gradient(lambda v: hessian @ v + 0.01 * v, b, steps=40, tolerance=1e-12)
    torch.testing.assert_close(solved.x, torch.linalg.solve(damped, b.T).T, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_non_finite_product_keeps_the_last_finite_vector(bad: float) -> None:
    a, b = positive_definite(), right_sides()[:1]
    calls = 0

    def product(v: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return a @ v if calls < 3 else torch.full_like(v, bad)

    solved = conjugate_gradient(product, b, steps=9)
    assert torch.equal(solved.x, conjugate_gradient(lambda v: a @ v, b, steps=2).x)
    assert (solved.stopped, solved.steps) == (1, 2)


def test_non_positive_curvature_stops() -> None:
    a = torch.diag(torch.tensor([1.0, -5.0], dtype=torch.float64))
    solved = conjugate_gradient(lambda v: a @ v, torch.tensor([[0.1, 1.0]], dtype=torch.float64), steps=9)
    assert solved.stopped == 1
    assert torch.equal(solved.x, torch.zeros(1, 2, dtype=torch.float64))


def test_a_right_side_of_zero_has_the_solution_zero() -> None:
    a = positive_definite()
    solved = conjugate_gradient(lambda v: a @ v, torch.zeros(1, 12, dtype=torch.float64), steps=5)
    assert float(solved.residuals) == 0
    assert not bool(solved.x.any())


def test_a_preconditioner_changes_the_steps_and_not_the_solution() -> None:
    a, b = positive_definite(), right_sides()
    nearly = torch.linalg.inv(a + 0.1 * torch.diag(a.diagonal()))
    solved = conjugate_gradient(lambda v: a @ v, b, steps=60, tolerance=1e-12, preconditioner=lambda v: nearly @ v)
    torch.testing.assert_close(solved.x, torch.linalg.solve(a, b.T).T, rtol=1e-8, atol=1e-10)
    few = conjugate_gradient(lambda v: a @ v, b, steps=4, preconditioner=lambda v: nearly @ v)
    assert float(few.residuals.max()) < 0.1 * float(conjugate_gradient(lambda v: a @ v, b, steps=4).residuals.min())
    true = (b - few.x @ a).norm(dim=1) / b.norm(dim=1)
    torch.testing.assert_close(few.residuals.double(), true, rtol=1e-5, atol=1e-8)


def test_a_preconditioner_that_is_not_positive_stops() -> None:
    a, b = positive_definite(), right_sides()
    solved = conjugate_gradient(lambda v: a @ v, b, steps=9, preconditioner=lambda v: -v)
    assert (solved.stopped, solved.steps) == (3, 0)
    assert not bool(solved.x.any())
