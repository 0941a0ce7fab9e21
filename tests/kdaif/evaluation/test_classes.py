from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from kdaif.errors import InvalidInputError
from kdaif.evaluation import per_class_accuracy, wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 1), (412, 500)])
def test_wilson_interval_equals_scipy(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")

    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(InvalidInputError):
        wilson_interval(successes, trials)


def test_accuracy_per_class_is_a_mean_over_seeds() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    seeds = [4 * np.eye(3)[[0, 0, 1, 0, 0, 0]], 4 * np.eye(3)[[0, 1, 1, 1, 0, 0]]]

    classes = per_class_accuracy(labels, seeds, ("cat", "dog", "owl"))

    assert [(item.class_name, item.rows, item.accuracy) for item in classes] == [
        ("cat", 2, 0.75),
        ("dog", 4, 0.375),
        ("owl", 0, None),
    ]
    assert (classes[1].low, classes[1].high) == wilson_interval(1.5, 4)
    assert (classes[2].low, classes[2].high) == (None, None)
