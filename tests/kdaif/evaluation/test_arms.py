from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from kdaif.errors import InvalidInputError, NonFiniteError
from kdaif.evaluation import compare_arms, paired_p_value

CLASSES = ("cat", "dog", "owl")


def one_hot(predicted: NDArray[np.int64] | list[int], n_classes: int = 3) -> NDArray[np.float32]:
    return (5 * np.eye(n_classes)[np.asarray(predicted)]).astype(np.float32)


def exact_sign_flip(differences: NDArray[np.float64]) -> float:
    """All sign patterns, one by one."""
    seen = abs(differences.sum())
    sums = [abs(float(np.dot(signs, differences))) for signs in product((-1.0, 1.0), repeat=len(differences))]
    return sum(value >= seen - 1e-9 for value in sums) / len(sums)


@pytest.mark.parametrize("seed", range(5))
def test_p_value_equals_the_enumeration_of_all_sign_flips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.choice([-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0], size=12)

    assert paired_p_value(differences, seed=0) == pytest.approx(exact_sign_flip(differences), abs=1e-12)


def test_drawn_sign_flips_come_close_to_the_enumeration() -> None:
    differences = np.random.default_rng(3).choice([-1.0, 0.5, 1.0], size=16, p=[0.3, 0.3, 0.4])

    assert paired_p_value(differences, seed=0) == pytest.approx(exact_sign_flip(differences), abs=0.02)


def test_p_value_is_the_same_for_the_same_seed_and_never_zero() -> None:
    differences = np.ones(1000)

    assert paired_p_value(differences, seed=1) == paired_p_value(differences, seed=1)
    assert 0 < paired_p_value(differences, seed=1) <= 0.001


def test_p_value_without_any_difference_is_one() -> None:
    assert paired_p_value(np.zeros(50), seed=0) == 1.0


def test_rows_that_agree_do_not_change_the_p_value() -> None:
    differences = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 1.0])

    padded = np.concatenate([differences, np.zeros(200)])

    assert paired_p_value(padded, seed=0) == paired_p_value(differences, seed=0)


def test_p_values_are_uniform_when_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    p_values = [paired_p_value(rng.choice([-1.0, 1.0], size=12), seed=0) for _ in range(200)]

    assert np.mean(np.asarray(p_values) <= 0.05) <= 0.09


def test_accuracy_and_macro_f1_are_means_over_seeds() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    seeds = [rng.normal(size=(60, 3)).astype(np.float32) for _ in range(3)]

    (result,) = compare_arms(labels, {"uniform": seeds}, CLASSES, seed=0)

    per_seed = [float(np.mean(np.argmax(array, axis=1) == labels)) for array in seeds]
    f1 = [f1_score(labels, np.argmax(array, axis=1), average="macro") for array in seeds]
    assert result.accuracy_per_seed == pytest.approx(per_seed)
    assert result.accuracy == pytest.approx(np.mean(per_seed))
    assert result.macro_f1 == pytest.approx(np.mean(f1))
    assert (result.accuracy_minus_uniform, result.p_value, result.size_kb, result.ms_per_row) == (None,) * 4


def test_macro_f1_counts_a_class_that_is_never_predicted_as_zero() -> None:
    labels = np.array([0, 0, 1, 2])

    (result,) = compare_arms(labels, {"uniform": [one_hot([0, 0, 1, 1])]}, CLASSES, seed=0)

    assert result.macro_f1 == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_macro_f1_leaves_out_a_class_that_neither_occurs_nor_is_predicted() -> None:
    (result,) = compare_arms(np.array([0, 1]), {"uniform": [one_hot([0, 1])]}, CLASSES, seed=0)

    assert result.macro_f1 == 1.0


def test_difference_to_uniform_pairs_rows_after_averaging_seeds() -> None:
    labels = np.zeros(8, dtype=np.int64)
    uniform = [one_hot([0, 0, 1, 1, 1, 1, 1, 1]), one_hot([0, 1, 1, 1, 1, 1, 1, 1])]
    influence = [one_hot([0, 0, 0, 0, 1, 1, 1, 1]), one_hot([0, 0, 0, 1, 1, 1, 1, 0])]

    first, second = compare_arms(labels, {"uniform": uniform, "influence": influence}, CLASSES, seed=0)

    assert (first.arm, second.arm) == ("uniform", "influence")
    assert second.accuracy_minus_uniform == pytest.approx(8 / 16 - 3 / 16)
    assert second.p_value == pytest.approx(exact_sign_flip(np.array([0, 0.5, 1, 0.5, 0, 0, 0, 0.5])))


def test_a_teacher_trained_once_is_a_single_array_and_an_arm_without_logits_is_left_out() -> None:
    labels = np.array([0, 1, 2, 0])
    arms = {"teacher": one_hot(labels), "uniform": [one_hot([0, 1, 1, 1])] * 2, "oracle": None, "supervised": []}

    teacher, uniform = compare_arms(labels, arms, CLASSES, seed=0)

    assert teacher.accuracy_per_seed == (1.0,)
    assert teacher.accuracy_minus_uniform == pytest.approx(0.5)
    assert uniform.accuracy_per_seed == (0.5, 0.5)


def test_equal_arms_with_another_number_of_seeds_do_not_differ() -> None:
    labels = np.array([0, 1, 2, 0])
    logits = one_hot([0, 1, 1, 1])

    _, same = compare_arms(labels, {"uniform": [logits] * 3, "influence": [logits] * 7}, CLASSES, seed=0)

    assert (same.accuracy_minus_uniform, same.p_value) == (0.0, 1.0)


def test_without_a_uniform_arm_there_is_no_difference() -> None:
    (result,) = compare_arms(np.array([0, 1]), {"influence": [one_hot([0, 1])]}, CLASSES, seed=0)

    assert (result.accuracy_minus_uniform, result.p_value) == (None, None)


@pytest.mark.parametrize(
    ("labels", "logits", "field"),
    [
        ([], np.zeros((0, 3)), "labels"),
        ([0, -1], np.zeros((2, 3)), "labels"),
        ([0, 3], np.zeros((2, 3)), "labels"),
        ([0, 1], np.zeros((3, 3)), "logits['uniform'][0]"),
        ([0, 1], np.zeros((2, 4)), "logits['uniform'][0]"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_field(labels: list[int], logits: NDArray[np.float64], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compare_arms(np.asarray(labels, dtype=np.int64), {"uniform": [logits]}, CLASSES, seed=0)

    assert caught.value.violations[0].field == field


def test_nan_logits_are_an_error_that_names_the_rows() -> None:
    logits = np.zeros((4, 3))
    logits[2, 1] = np.nan

    with pytest.raises(NonFiniteError, match=r"'uniform'.*1 test rows.*\[2\]"):
        compare_arms(np.array([0, 1, 2, 0]), {"uniform": [logits]}, CLASSES, seed=0)


def test_one_differing_row_is_no_evidence() -> None:
    assert paired_p_value(np.array([0.0, 1.0, 0.0]), seed=0) == 1.0
