import itertools

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from kdaif.weighting import least_sureness, log_likelihood_ratio, sureness_of, trust_slope

N_ROWS, N_CLASSES = 4000, 5


def rows(*, corrupted: float, honest: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood ratios of a student and sureness of a teacher, of rows some of which were corrupted."""
    generator = np.random.default_rng(seed)
    sureness = generator.uniform(-1, 4, N_ROWS)
    right = generator.random(N_ROWS) < (expit(sureness) if honest else 0.7)
    right &= generator.random(N_ROWS) >= corrupted
    said = generator.normal(np.where(right, 1.5, -1.5), 1.0)
    return norm.logpdf(said, 1.5) - norm.logpdf(said, -1.5), sureness


def test_a_teacher_whose_probabilities_are_what_they_say_is_taken_at_its_word() -> None:
    assert trust_slope(*rows(corrupted=0.0, honest=True)) == pytest.approx(1.0, abs=0.12)


def test_a_teacher_whose_sureness_tells_nothing_is_not() -> None:
    assert trust_slope(*rows(corrupted=0.0, honest=False)) == pytest.approx(0.0, abs=0.08)


def test_labels_that_were_swapped_afterwards_take_the_trust_away() -> None:
    slopes = [trust_slope(*rows(corrupted=share, honest=True)) for share in (0.0, 0.2, 0.4)]
    assert slopes[0] > slopes[1] > slopes[2]
    assert slopes[2] < slopes[0] / 2


def test_labels_in_a_column_say_nothing_of_how_sure_they_are() -> None:
    ratio, _ = rows(corrupted=0.2, honest=True)
    sureness = sureness_of(np.full(N_ROWS, 27.6))
    assert sureness.max() == 4.0
    assert trust_slope(ratio, sureness) == 0.0
    assert (sureness == least_sureness(sureness)).all()
    assert trust_slope(np.array([]), np.array([])) == 0.0


def test_the_slope_is_the_one_of_most_likelihood() -> None:
    ratio, sureness = rows(corrupted=0.1, honest=True)
    x = sureness - sureness.mean()

    def likelihood(a: float, b: float) -> float:
        share = expit(a + b * x)
        return float(np.log(share * np.exp(ratio) + 1 - share).sum())

    grid = itertools.product(np.linspace(-1, 5, 61), np.linspace(0, 1, 51))
    best = max(grid, key=lambda line: likelihood(*line))
    assert trust_slope(ratio, sureness) == pytest.approx(best[1], abs=0.025)


def test_the_ratio_is_that_of_the_two_densities() -> None:
    generator = np.random.default_rng(1)
    classes = generator.integers(0, N_CLASSES, 3000)
    logits = generator.normal(-1.0, 1.0, (3000, N_CLASSES))
    logits[np.arange(3000), classes] += 2.0
    at = np.array([-2.0, 0.0, 2.0])
    # Two normals of the same width, 2 apart: the ratio of their densities is a line.
    np.testing.assert_allclose(
        log_likelihood_ratio(at, logits, classes), norm.logpdf(at, 1.0) - norm.logpdf(at, -1.0), atol=0.3
    )


def test_a_student_at_chance_has_nothing_to_say() -> None:
    generator = np.random.default_rng(2)
    classes = generator.integers(0, N_CLASSES, 2000)
    guesses = generator.normal(0.0, 3.0, (2000, N_CLASSES))
    np.testing.assert_allclose(log_likelihood_ratio(np.array([-8.0, 8.0]), guesses, classes), 0.0, atol=0.4)


def test_few_rows_that_are_told_apart_without_fault_give_a_finite_ratio() -> None:
    classes = np.array([0, 1])
    ratio = log_likelihood_ratio(np.array([-8.0, 8.0]), np.array([[8.0, -8.0], [-8.0, 8.0]]), classes)
    np.testing.assert_allclose(ratio, [-logit(0.75), logit(0.75)], atol=1e-3)
