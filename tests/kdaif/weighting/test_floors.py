from __future__ import annotations

import numpy as np
import pytest

from kdaif.weighting import with_floors

_NAMES = np.array(["F"] * 30 + ["M"] * 60 + [None] * 10, dtype=object)


def _weights() -> np.ndarray:
    weights = np.random.default_rng(0).uniform(0.5, 1.5, 100)
    weights[:30] *= 0.2
    return weights / weights.mean()


def test_a_group_is_raised_to_its_floor_and_the_others_pay_in_proportion() -> None:
    weights = _weights()
    found = with_floors(weights, [(_NAMES, "F")], 0.5, None)
    assert found[:30].mean() == pytest.approx(0.5)
    assert found.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(found[:30] / weights[:30], found[0] / weights[0])
    np.testing.assert_allclose(found[30:] / weights[30:], found[-1] / weights[-1])
    np.testing.assert_array_equal(weights, _weights())


def test_a_persons_word_stays_as_it_is() -> None:
    weights, overrides = _weights(), np.full(100, np.nan)
    overrides[[3, 50]] = 0.0, 7.0
    weights[[3, 50]] = 0.0, 7.0
    found = with_floors(weights, [(_NAMES, "F")], 0.5, overrides)
    assert found[[3, 50]].tolist() == [0.0, 7.0]
    assert found[:30].mean() == pytest.approx(0.5)
    assert found.sum() == pytest.approx(weights.sum())


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_a_group_over_its_floor_is_left_alone(floor: float) -> None:
    np.testing.assert_array_equal(with_floors(_weights(), [(_NAMES, "F")], floor, None), _weights())


def test_what_cannot_be_met_changes_nothing() -> None:
    nothing = np.where(np.arange(100) < 30, 0.0, 1.0)
    np.testing.assert_array_equal(with_floors(nothing, [(_NAMES, "F")], 0.5, None), nothing)
    np.testing.assert_array_equal(with_floors(_weights(), [(_NAMES, "X")], 0.5, None), _weights())
    assert with_floors(nothing, [], 0.5, None) is nothing
