from __future__ import annotations

import pytest

from kdaif.evaluation import external_verdict, verdict
from kdaif.records import ArmResult


def arm(name: str, accuracy: float, p_value: float | None = None) -> ArmResult:
    return ArmResult(name, accuracy, accuracy, (accuracy,), p_value=p_value)


UNIFORM = arm("uniform", 0.748)


def test_helped_with_share_of_the_oracle_gap() -> None:
    sentence = verdict([UNIFORM, arm("influence", 0.772, 0.012), arm("oracle", 0.778, 0.001)])

    assert sentence == (
        "Weighting helped: 77.2 % against 74.8 % with uniform weights, +2.4 points (p = 0.012); "
        "that is 80 % of the +3.0 points to the oracle."
    )


def test_the_external_set_has_a_sentence_of_its_own() -> None:
    assert external_verdict([UNIFORM, arm("influence", 0.772, 0.012)]) == (
        "On the external set: weighting helped: 77.2 % against 74.8 % with uniform weights, +2.4 points (p = 0.012)."
    )
    assert external_verdict([UNIFORM]).endswith("the uniform student reaches 74.8 % on the external rows.")


def test_did_not_help() -> None:
    sentence = verdict([UNIFORM, arm("influence", 0.745, 0.6)])

    assert sentence == (
        "Weighting did not help here: 74.5 % against 74.8 % with uniform weights, -0.3 points (p = 0.600)."
    )


def test_a_gain_within_chance_is_no_help() -> None:
    sentence = verdict([UNIFORM, arm("influence", 0.752, 0.31)])

    assert sentence.startswith("Weighting did not help here beyond chance: 75.2 %")
    assert "+0.4 points (p = 0.310)" in sentence


def test_hurt() -> None:
    sentence = verdict([UNIFORM, arm("influence", 0.70, 0.0001), arm("oracle", 0.8, 0.001)])

    assert sentence.startswith(
        "Weighting hurt here: 70.0 % against 74.8 % with uniform weights, -4.8 points (p < 0.001)"
    )
    assert "none of the +5.2 points to the oracle is recovered" in sentence


@pytest.mark.parametrize(
    ("oracle", "clause"),
    [
        (arm("oracle", 0.740, 0.001), "even the oracle, which leaves out every wrong pseudo-label, is not ahead"),
        (arm("oracle", 0.750, 0.4), "the oracle's own lead of +0.2 points is within chance"),
    ],
)
def test_no_share_of_a_gap_that_is_not_there(oracle: ArmResult, clause: str) -> None:
    sentence = verdict([UNIFORM, arm("influence", 0.772, 0.01), oracle])

    assert clause in sentence
    assert sentence.count("%") == 2


def test_the_supervised_student_is_named_ahead_or_behind() -> None:
    ahead = verdict([UNIFORM, arm("influence", 0.772, 0.01), arm("supervised", 0.81, 0.01)])
    behind = verdict([UNIFORM, arm("influence", 0.772, 0.01), arm("supervised", 0.76, 0.01)])

    assert ahead.endswith("; training on the labelled rows alone reaches 81.0 %, more than any weighting gave.")
    assert behind.endswith("; training on the labelled rows alone reaches 76.0 %, so distilling adds +1.2 points.")


def test_no_difference_has_no_sign() -> None:
    assert "0.0 points (p = 1.000)" in verdict([UNIFORM, arm("influence", 0.748, 1.0)])
    assert "-0.0" not in verdict([UNIFORM, arm("influence", 0.74799, 1.0)])


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([arm("influence", 0.5)], "not known"),
        ([UNIFORM], "No weighting was asked for: the uniform student reaches 74.8 %"),
        ([], "Nothing to compare"),
        ([UNIFORM, arm("influence", 0.9)], "not tested against chance"),
    ],
)
def test_missing_arms_are_said(results: list[ArmResult], expected: str) -> None:
    assert expected in verdict(results)


def test_always_one_sentence() -> None:
    everything = [UNIFORM, arm("influence", 0.7, 0.01), arm("oracle", 0.8, 0.01), arm("supervised", 0.81, 0.01)]

    assert verdict(everything).endswith(".")
    assert ". " not in verdict(everything)
