import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdaif.weighting import (
    agreement_z,
    combine,
    effective_sample_size,
    influence_share,
    influence_z,
    kept_share,
    loss_weights,
    normalise,
    smooth,
    trust_region,
)

FINITE = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6))


def weights_of(z: np.ndarray) -> np.ndarray:
    return loss_weights(kept_share(z, sharpness=1.0, floor=0.05), blended=False)


def test_harmful_rows_weigh_less_and_zero_influence_stays_at_zero() -> None:
    influence = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    z = influence_z(influence)
    assert z[2] == 0
    assert (np.diff(z) < 0).all()
    assert (np.diff(weights_of(z)) < 0).all()


def test_z_is_not_centred_at_the_median() -> None:
    assert (influence_z(np.array([1.0, 2.0, 3.0])) < 0).all()


@pytest.mark.parametrize("value", [-0.3, 0.0, 7.0])
def test_d18_constant_influence_gives_weights_of_exactly_one(value: float) -> None:
    for n in (1, 3, 7, 1000):
        assert (weights_of(influence_z(np.full(n, value))) == 1.0).all()


def test_one_outlier_does_not_flatten_the_rest() -> None:
    influence = np.random.default_rng(0).normal(size=200)
    influence[0] = 1e9
    assert weights_of(influence_z(influence))[1:].std() > 0.2


@given(FINITE, st.booleans())
def test_weights_are_finite_positive_and_of_mean_one(influence: np.ndarray, blended: bool) -> None:
    weights = loss_weights(kept_share(influence_z(influence), sharpness=2.0, floor=0.05), blended=blended)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)


def test_the_floor_holds() -> None:
    kept = kept_share(np.array([-100.0, 100.0]), sharpness=1.0, floor=0.05)
    assert kept.tolist() == [0.05, 1.0]
    assert loss_weights(kept, blended=True).tolist() == pytest.approx([2 / 3, 4 / 3])
    assert normalise(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_agreement_is_the_logit_of_the_probability() -> None:
    p = np.array([0.5, 0.9, 0.2])
    np.testing.assert_allclose(agreement_z(np.log(p)), np.log(p / (1 - p)))
    assert agreement_z(np.array([0.0, -1e-20, -900.0, -np.inf])).tolist() == [4.0, 4.0, -4.0, -4.0]


@pytest.mark.parametrize(
    ("reliability", "share"), [(1.0, 0.5), (0.5, 1 / 3), (0.1, 1 / 11), (0.09, 0.0), (-0.6, 0.0), (math.nan, 0.0)]
)
def test_unreliable_influence_counts_less(reliability: float, share: float) -> None:
    assert influence_share(reliability) == pytest.approx(share)


def test_parts_add_up_and_are_smoothed() -> None:
    s = combine(np.array([4.0]), np.array([-1.0]), 0.25)
    assert s.tolist() == [0.25]
    assert smooth(None, s, 0.5) is s
    assert smooth(np.array([1.25]), s, 0.8).tolist() == pytest.approx([1.05])


def test_effective_sample_size_counts_rows() -> None:
    assert effective_sample_size(np.ones(9)) == pytest.approx(9)
    assert effective_sample_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_sample_size(np.zeros(3)) == 0


def test_the_gate_opens_on_a_believable_gain_alone() -> None:
    weights = np.array([0.5, 1.5] * 10)
    assert trust_region(weights, np.full(30, -0.1)).step == 1.0
    assert trust_region(weights, np.full(30, 0.1)).step == 0.0
    noisy = np.array([-1.0, 0.99] * 15)
    gate = trust_region(weights, noisy)
    assert gate.step == 0.0
    assert gate.gain == pytest.approx(0.005)
    assert gate.stderr == pytest.approx(noisy.std(ddof=1) / math.sqrt(30))


def test_closing_takes_as_much_evidence_as_opening() -> None:
    weights = np.array([0.5, 1.5] * 10)
    undecided = np.array([-1.0, 0.99] * 15)
    assert trust_region(weights, undecided).step == 0.0
    assert trust_region(weights, undecided, was_open=True).step == 1.0
    assert trust_region(weights, np.full(30, 0.1), was_open=True).step == 0.0
    assert trust_region(weights, np.array([-1.0]), was_open=True).step == 0.0


@pytest.mark.parametrize("changes", [[], [-1.0]])
def test_without_evidence_the_gate_stays_shut(changes: list[float]) -> None:
    gate = trust_region(np.array([0.5, 1.5]), np.array(changes))
    assert gate.step == 0.0
    assert gate.effective_sample_size == 2


def test_the_step_shrinks_until_half_of_the_rows_are_effective() -> None:
    weights = normalise(np.r_[np.full(90, 1e-3), np.full(10, 10.0)])
    gate = trust_region(weights, np.full(5, -1.0))
    assert gate.step == 0.25
    assert gate.effective_sample_size >= 50
    assert effective_sample_size(0.5 + 0.5 * weights) < 50
