from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from kdaif.influence import (
    InfluenceScores,
    block_stderr,
    per_unit_of_weight,
    rank_correlation,
)
from kdaif.linalg import logits_of, parameter_vector
from kdaif.records import Weighting
from kdaif.weighting import influence_z, loss_weights, parts_of

from .problem import L2, TRAINING, Problem, dense_influence, halfway, minimise, network, problem, scores_of


def scores(module: nn.Module, given: Problem, **options: Any) -> InfluenceScores:
    return scores_of(module, given, **{"blocks": 4, "steps": 10, **options})


def trained(hidden: int | None) -> tuple[nn.Module, Problem]:
    given, module = problem(), network(hidden)
    minimise(module, given, given.weights)
    return module.eval(), given


def test_the_sign_holds_against_true_leave_one_out_retraining() -> None:
    module, given = trained(None)
    full = given.validation_loss(module)
    changes = []
    for row in range(len(given.weights)):
        without = given.weights.clone()
        without[row] = 0.0
        retrained = network(None)
        retrained.load_state_dict(module.state_dict())
        minimise(retrained, given, without)
        changes.append(given.validation_loss(retrained) - full)
    influence = scores(module, given, damping=L2, steps=60, tolerance=1e-10).influence
    # Removing a row takes its weight from 1 to 0, so the loss moves against the influence.
    predicted = -per_unit_of_weight(influence, given.weights.numpy(), TRAINING.soft_label_weight)
    assert pearsonr(predicted, changes).statistic >= 0.95
    assert np.polyfit(predicted, changes, 1)[0] == pytest.approx(1.0, abs=0.15)


def test_planted_flips_get_higher_influence_and_lower_weights() -> None:
    module, given = halfway()
    found = scores(module, given)
    influence = found.influence
    flipped = given.flipped.numpy()
    assert roc_auc_score(flipped, influence) > 0.7
    z = influence_z(influence, block_stderr(found.per_block), found.reliability)
    weights = loss_weights(parts_of(z, np.full_like(z, 4.0), 1.0), floor=0.0, blended=False)
    assert weights[flipped].mean() < 0.8 * weights[~flipped].mean()
    assert influence[flipped].mean() > 0


def test_influence_equals_the_exact_damped_dense_inverse() -> None:
    module, given = trained(8)
    exact, _ = dense_influence(module, given, damping=0.01)
    converged = scores(module, given, damping=0.01, steps=200, tolerance=1e-12)
    np.testing.assert_allclose(converged.influence, exact, rtol=1e-6, atol=1e-9)
    few = scores(module, given, damping=0.01)
    assert spearmanr(few.influence, exact).statistic >= 0.95
    assert converged.residual < few.residual < 1


def test_scaled_damping_is_a_tenth_of_the_curvature_along_the_gradient() -> None:
    module, given = trained(8)
    _, matrix = dense_influence(module, given, damping=0.0)
    of_validation = logits_of(module, given.validation)
    gradient = torch.autograd.functional.jacobian(
        lambda t: functional.cross_entropy(of_validation(t), given.validation_labels), parameter_vector(module)
    )
    expected = 0.1 * float(gradient @ matrix @ gradient) / float(gradient @ gradient)
    assert scores(module, given).damping == pytest.approx(expected, rel=1e-6)


def test_forward_mode_and_finite_differences_agree_in_float32() -> None:
    module, given = trained(8)
    exact = scores(module, given).influence
    single = Problem(
        *(
            value.float() if value.dtype == torch.float64 else value
            for value in (getattr(given, name) for name in Problem.__dataclass_fields__)
        )
    )
    forward = scores(module.float(), single, derivative="forward").influence
    differences = scores(module.float(), single, derivative="finite_difference").influence
    np.testing.assert_allclose(forward, exact, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(differences, forward, rtol=2e-2, atol=2e-2 * np.abs(forward).max())


def test_a_warm_start_begins_where_the_last_solve_ended() -> None:
    module, given = trained(8)
    first = scores(module, given, steps=5, tolerance=1e-9)
    second = scores(module, given, steps=5, tolerance=1e-9, start=first.solution)
    assert second.residual < 0.5 * first.residual


def test_halves_that_agree_are_reliable_and_stderr_shrinks_with_blocks_that_agree() -> None:
    module, given = trained(8)
    clear = scores(module, given)
    assert 0 < clear.reliability <= 1
    assert (block_stderr(clear.per_block) > 0).all()
    twice = Problem(
        **{
            **{name: getattr(given, name) for name in Problem.__dataclass_fields__},
            "validation": given.validation[:1].repeat(8, 1),
            "validation_labels": given.validation_labels[:1].repeat(8),
        }
    )
    same = scores(module, twice)
    assert same.reliability == pytest.approx(1.0)
    np.testing.assert_allclose(block_stderr(same.per_block), 0, atol=1e-12)


@pytest.mark.parametrize("n_validation", [1, 2, 3])
def test_a_score_set_smaller_than_the_blocks(n_validation: int) -> None:
    module, given = trained(None)
    small = Problem(
        **{
            **{name: getattr(given, name) for name in Problem.__dataclass_fields__},
            "validation": given.validation[:n_validation],
            "validation_labels": given.validation_labels[:n_validation],
        }
    )
    found = scores(module, small)
    assert np.isfinite(found.influence).all()
    assert np.isfinite(block_stderr(found.per_block)).all()
    if n_validation == 1:
        assert found.reliability == 0


def test_a_subsample_of_rows_gives_nearly_the_same_ranks() -> None:
    module, given = trained(8)
    every = scores(module, given, damping=0.05).influence
    some = scores(module, given, rows=40, damping=0.05).influence
    assert spearmanr(every, some).statistic > 0.8


@pytest.mark.parametrize("solver", ["head", "cg"])
def test_the_default_subsample_ranks_a_large_pool_as_all_of_its_rows_do(solver: str) -> None:
    """What `docs/results/scale.md` tells of real rows: only the solve samples, and every row is scored."""
    given, module = problem(n_unlabeled=3000, flips=600), network(8)
    minimise(module, given, given.weights)
    every = scores(module.eval(), given, rows=10_000, solver=solver, steps=30).influence
    drawn = Weighting().curvature_rows
    some = [
        scores(module, given, rows=drawn, seed=seed, solver="head" if solver == "head" else "cg", steps=30).influence
        for seed in range(3)
    ]
    assert min(spearmanr(every, each).statistic for each in some) > 0.95
    assert all(len(each) == 3000 for each in some)


def test_d17_a_duplicated_column_is_scored() -> None:
    given = problem()
    doubled = Problem(
        **{
            name: torch.cat([getattr(given, name)] * 2, dim=1)
            if name in ("labeled", "unlabeled", "validation")
            else getattr(given, name)
            for name in Problem.__dataclass_fields__
        }
    )
    module = nn.Linear(8, 3).double()
    minimise(module, doubled, doubled.weights)
    found = scores(module, doubled, damping=0.01, steps=100, tolerance=1e-10)
    exact, matrix = dense_influence(module, doubled, damping=0.01)
    undamped = matrix - 0.01 * torch.eye(len(matrix), dtype=torch.float64)
    assert torch.linalg.matrix_rank(undamped) < len(matrix)
    np.testing.assert_allclose(found.influence, exact, rtol=1e-5, atol=1e-8)


def test_rank_correlation_by_hand_and_of_a_constant() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 40.0, 30.0])) == pytest.approx(0.8)
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0
