from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from kdaif.evaluation import calibrate, expected_calibration_error, fit_temperature


def drawn(rows: int, temperature: float, seed: int = 0, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature), and the logits."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=3.0, size=(rows, classes))
    uniform = generator.random((rows, 1))
    labels = (softmax(logits / temperature, axis=1).cumsum(axis=1) < uniform).sum(axis=1)
    return np.minimum(labels, classes - 1), logits.astype(np.float32)


def test_ece_against_bins_of_equal_size_made_by_hand() -> None:
    labels, logits = drawn(150, 2.0)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    order = np.argsort(probabilities.max(axis=1))
    right = probabilities.argmax(axis=1) == labels
    bins = order.reshape(15, 10)
    by_hand = np.mean([abs(right[rows].mean() - probabilities[rows].max(axis=1).mean()) for rows in bins])

    assert expected_calibration_error(labels, logits) == pytest.approx(by_hand)


def test_ece_does_not_depend_on_the_order_of_tied_rows() -> None:
    logits = np.tile([[2.0, 0.0]], (60, 1))
    labels = np.repeat([0, 1], 30)
    confidence = 1 / (1 + np.exp(-2.0))

    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(labels)
        assert expected_calibration_error(shuffled, logits) == pytest.approx(confidence - 0.5)


@pytest.mark.parametrize("rows", [1, 2, 14])
def test_ece_of_few_rows(rows: int) -> None:
    labels, logits = drawn(rows, 1.0)
    assert 0 <= expected_calibration_error(labels, logits) <= 1


def test_ece_of_confident_and_right_is_nothing() -> None:
    labels = np.arange(40) % 4
    assert expected_calibration_error(labels, 1e4 * np.eye(4)[labels]) == 0.0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    labels, logits = drawn(20_000, temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize(("rows", "temperature"), [(40, 0.5), (40, 2.0), (300, 5.0)])
def test_newton_finds_what_a_line_search_finds(rows: int, temperature: float) -> None:
    labels, logits = drawn(rows, temperature, seed=3)
    targets = np.eye(4)[labels] * rows / (rows + 1) + 1 / (4 * (rows + 1))

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    searched = np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x)
    assert fit_temperature(labels, logits) == pytest.approx(searched, rel=1e-3)


def test_rows_all_right_do_not_make_it_certain() -> None:
    labels = np.arange(40) % 4
    temperature = fit_temperature(labels, 5 * np.eye(4)[labels])
    confidence = softmax(5 * np.eye(4) / temperature, axis=1).max()
    assert confidence == pytest.approx(40 / 41 + 1 / (4 * 41), abs=1e-6)


def test_it_stays_within_bounds_where_the_rows_cannot_tell() -> None:
    labels = np.arange(40) % 4
    assert fit_temperature(labels, np.zeros((40, 4))) >= 0.05
    assert fit_temperature(labels, 1e6 * np.eye(4)[(labels + 1) % 4]) == pytest.approx(20.0, rel=1e-3)
    assert fit_temperature(labels, 1e-6 * np.eye(4)[labels]) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(np.empty(0, np.int64), np.empty((0, 4))) == 1.0


def test_the_temperature_stays_1_where_few_rows_do_not_speak_clearly() -> None:
    labels = np.arange(40) % 4
    logits = 6 * np.eye(4)[labels]
    logits[0] = 6 * np.eye(4)[1]  # one row of forty, surely wrong

    assert fit_temperature(labels, logits) > 1.3
    assert calibrate(logits, labels, logits, labels).temperature == 1.0
    all_right = 6 * np.eye(4)[labels]
    assert calibrate(all_right, labels, all_right, labels).temperature == 1.0


def test_calibration_on_other_rows_helps_an_overconfident_student() -> None:
    gate_labels, gate_logits = drawn(60, 3.0, seed=1)
    test_labels, test_logits = drawn(3000, 3.0, seed=2)

    found = calibrate(gate_logits, gate_labels, test_logits, test_labels)

    assert found.gate_rows == 60
    assert found.temperature > 1.5
    assert found.ece_after < 0.5 * found.ece_before
