import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm

from kdaif.weighting import (
    agreement_z,
    effective_sample_size,
    influence_z,
    log_odds_of,
    loss_weights,
    normalise,
    parts_of,
    with_overrides,
)

FINITE = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6))
NEUTRAL = 0.0
SURE = 1.0  # two halves of V rank the rows alike


def weights_of(z: np.ndarray) -> np.ndarray:
    return loss_weights(parts_of(z, np.full_like(z, NEUTRAL), 1.0), floor=0.0, blended=False)


def test_harmful_rows_weigh_less_and_zero_influence_stays_at_zero() -> None:
    influence = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    z = influence_z(influence, np.ones(5), SURE)
    assert z.tolist() == [2.0, 1.0, 0.0, -1.0, -2.0]
    assert (np.diff(weights_of(z)) < 0).all()


def test_influence_is_judged_by_its_own_standard_error() -> None:
    z = influence_z(np.array([-1.0, -1.0, -1.0]), np.array([0.1, 1.0, 100.0]), SURE)
    assert z.tolist() == [4.0, 1.0, 0.01]
    helps = parts_of(z, np.zeros(3), 1.0).helps
    assert helps[2] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(helps, norm.cdf(z), atol=0.01)


def test_without_a_standard_error_influence_says_nothing() -> None:
    assert influence_z(np.array([-1.0, 5.0]), np.zeros(2), SURE).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [-0.3, 0.0, 7.0])
def test_d18_constant_influence_gives_weights_of_exactly_one(value: float) -> None:
    for n in (1, 3, 7, 1000):
        assert (weights_of(influence_z(np.full(n, value), np.full(n, 0.2), SURE)) == 1.0).all()


def test_one_outlier_does_not_flatten_the_rest() -> None:
    influence = np.random.default_rng(0).normal(size=200)
    influence[0] = 1e9
    assert weights_of(influence_z(influence, np.ones(200), SURE))[1:].std() > 0.2


@given(FINITE, FINITE, st.floats(0, 0.9), st.booleans())
def test_weights_are_finite_not_negative_and_of_mean_one(
    influence: np.ndarray, logits: np.ndarray, floor: float, blended: bool
) -> None:
    n = min(len(influence), len(logits))
    parts = parts_of(
        influence_z(influence[:n], np.ones(n), SURE), agreement_z(logits[:n], logits, np.arange(len(logits)) % 2), 2.0
    )
    weights = loss_weights(parts, floor=floor, blended=blended)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)


def test_a_row_has_to_help_and_to_be_right() -> None:
    parts = parts_of(np.array([4.0, 4.0, -4.0, 0.0]), np.array([4.0, -4.0, 4.0, 0.0]), 1.0)
    assert parts.kept[0] > 0.95
    assert (parts.kept[1:3] < 0.05).all()
    assert parts.kept[3] == 0.25
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds_of(parts.kept))), parts.kept)
    assert np.isfinite(log_odds_of(np.array([0.0, 1.0]))).all()


def test_the_floor_holds_and_blended_targets_keep_half() -> None:
    parts = parts_of(np.array([4.0, 4.0]), np.array([-40.0, 40.0]), 1.0)
    floored = loss_weights(parts, floor=0.05, blended=False)
    assert floored[0] / floored[1] == pytest.approx(0.05, rel=0.01)
    assert loss_weights(parts, floor=0.0, blended=True).tolist() == pytest.approx([2 / 3, 4 / 3])
    assert normalise(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_an_unreliable_influence_has_little_say() -> None:
    influence, stderr = np.array([-2.0, 3.0]), np.ones(2)
    assert influence_z(influence, stderr, 0.0).tolist() == [0.0, 0.0]
    assert influence_z(influence, stderr, -0.4).tolist() == [0.0, 0.0]
    # r = 1/3 between halves is 1/2 for the whole (Spearman and Brown).
    np.testing.assert_allclose(influence_z(influence, stderr, 1 / 3), np.sqrt(0.5) * np.array([2.0, -3.0]))


def test_agreement_is_measured_from_what_the_student_thinks_of_known_labels() -> None:
    agreement, classes = np.array([-3.0, -1.0, 0.0, 9.0]), np.zeros(10, dtype=int)
    unsure = np.linspace(-3, 1.5, 10)  # the second of ten is -2.5
    np.testing.assert_allclose(agreement_z(agreement, unsure, classes), [-0.5, 1.5, 2.5, 6.5])
    # A sure student does not ask for more than even odds.
    assert agreement_z(agreement, np.full(10, 3.0), classes).tolist() == [-3.0, -1.0, 0.0, 4.0]
    assert agreement_z(agreement, np.array([]), classes[:0]).tolist() == [-3.0, -1.0, 0.0, 4.0]
    assert agreement_z(np.array([-np.inf, np.inf]), np.array([]), classes[:0]).tolist() == [-4.0, 4.0]


def test_a_rare_class_that_is_hard_for_the_student_lowers_what_it_asks_for() -> None:
    known, classes = np.array([2.0] * 18 + [-3.0] * 2), np.array([0] * 18 + [1] * 2)
    assert agreement_z(np.zeros(1), known, np.zeros(20, dtype=int)).tolist() == [0.0]
    assert agreement_z(np.zeros(1), known, classes).tolist() == [3.0]


def test_effective_sample_size_counts_rows() -> None:
    assert effective_sample_size(np.ones(9)) == pytest.approx(9)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_sample_size(np.zeros(3)) == 0


@given(FINITE, st.data())
def test_overrides_are_exact_and_the_other_rows_keep_mean_one(values: np.ndarray, draw: st.DataObject) -> None:
    weights = normalise(np.abs(values))
    overrides = np.array(
        draw.draw(st.lists(st.sampled_from([np.nan, 0.0, 7.5]), min_size=len(weights), max_size=len(weights)))
    )
    final = with_overrides(weights, overrides)
    given_rows = ~np.isnan(overrides)
    assert (final[given_rows] == overrides[given_rows]).all()
    if not given_rows.all():
        assert final[~given_rows].mean() == pytest.approx(1.0)
        # Their order stays.
        assert (np.diff(final[~given_rows][np.argsort(weights[~given_rows], kind="stable")]) >= 0).all()


def test_without_overrides_weights_stay_as_they_are() -> None:
    weights = np.array([0.5, 1.5])
    assert with_overrides(weights, None) is weights
