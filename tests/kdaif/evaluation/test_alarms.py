from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdaif.evaluation.alarms import canary_alarm, round_alarms, worst_group_alarms
from kdaif.evaluation.subgroups import group_accuracies, group_weights
from kdaif.records import CanaryCheck
from kdaif.records.monitoring import Alarm, AlarmCode, Monitoring

_NAMES = ("cat", "dog")


def alarms(
    weights: Any, pseudo_labels: Any, validation: Any, reliability: float | None = 0.5, **bars: Any
) -> tuple[Alarm, ...]:
    return round_alarms(
        np.asarray(weights, dtype=np.float64),
        np.asarray(pseudo_labels),
        np.asarray(validation),
        _NAMES,
        (),
        reliability,
        Monitoring(**bars),
        3,
    )


def codes(found: tuple[Alarm, ...]) -> list[AlarmCode]:
    return [alarm.code for alarm in found]


def test_d11_pseudo_labels_that_collapse_to_the_large_class_raise_the_alarm() -> None:
    """D11: of 95:5, a teacher with a threshold names the large class alone."""
    validation = [0] * 190 + [1] * 10
    assert alarms(np.ones(1000), [0] * 950 + [1] * 50, validation) == ()
    (collapsed,) = alarms(np.ones(1000), [0] * 1000, validation)
    assert (collapsed.code, collapsed.subject, collapsed.round) == (AlarmCode.CLASS_DRIFT, "class dog", 3)
    assert "its pseudo-labels have all but gone" in collapsed.message
    # Weights may do what the labels did not.
    by_weight = np.where(np.arange(1000) < 950, 1.0, 0.001)
    assert codes(alarms(by_weight, [0] * 950 + [1] * 50, validation)) == [AlarmCode.CLASS_DRIFT]


def test_d11_a_small_effective_sample_size_raises_the_alarm() -> None:
    """D11: all weight on few rows."""
    weights = np.full(1000, 1e-3)
    weights[:50] = 20.0
    labels = [0, 1] * 500
    (few,) = alarms(weights, labels, [0, 1] * 100)
    assert few.code is AlarmCode.FEW_EFFECTIVE_ROWS
    assert few.value == pytest.approx(0.05, abs=0.001)
    assert alarms(weights, labels, [0, 1] * 100, effective_share=0.0) == ()


def test_a_mixture_that_is_another_raises_the_alarm_beyond_chance_only() -> None:
    validation = [0] * 100 + [1] * 100
    assert alarms(np.ones(1000), [0] * 700 + [1] * 300, validation) == ()
    assert codes(alarms(np.ones(1000), [0] * 850 + [1] * 150, validation)) == [AlarmCode.CLASS_DRIFT]
    # Eight rows of V say little of the shares.
    assert alarms(np.ones(1000), [0] * 850 + [1] * 150, [0] * 4 + [1] * 4) == ()


def test_unreliable_influence_raises_the_alarm_where_there_is_any() -> None:
    labels, validation = [0, 1] * 50, [0, 1] * 50
    assert codes(alarms(np.ones(100), labels, validation, 0.01)) == [AlarmCode.UNRELIABLE_INFLUENCE]
    assert alarms(np.ones(100), labels, validation, None) == ()


def test_a_group_under_its_floor_raises_the_alarm_and_a_small_one_gets_no_verdict() -> None:
    generator = np.random.default_rng(0)
    groups = np.array(["F"] * 100 + ["M"] * 880 + ["X"] * 10 + [None] * 10, dtype=object)
    weights = generator.uniform(0.8, 1.2, 1000)
    weights[:100] *= 0.2
    weights[980:990] = 0.0
    found = group_weights(weights, {"group_sex": groups}, Monitoring())
    assert {(each.name, each.rows, each.verdict) for each in found} == {
        ("F", 100, "low"),
        ("M", 880, "ok"),
        ("X", 10, "few"),
    }
    of_women = next(each for each in found if each.name == "F")
    assert of_women.mean == pytest.approx(weights[:100].mean())
    assert of_women.low < of_women.mean < of_women.high < 0.5
    raised = round_alarms(weights, np.tile([0, 1], 500), np.tile([0, 1], 50), _NAMES, found, 0.5, Monitoring(), 2)
    assert [(alarm.code, alarm.subject) for alarm in raised] == [(AlarmCode.GROUP_FLOOR, "group_sex = F")]
    assert "is not known" in raised[0].message


@pytest.mark.parametrize(("wrong_here", "words"), [(0.6, "deserve less"), (0.1, "no fault of its pseudo-labels")])
def test_the_alarm_says_whether_the_teacher_is_to_blame(wrong_here: float, words: str) -> None:
    groups = np.array(["F"] * 100 + ["M"] * 100, dtype=object)
    weights = np.repeat([0.2, 1.8], 100) * np.random.default_rng(1).uniform(0.9, 1.1, 200)
    wrong = np.zeros(200, dtype=np.bool_)
    wrong[: int(100 * wrong_here)] = True
    wrong[100:120] = True
    found = group_weights(
        weights, {"group_sex": groups}, Monitoring(), teacher_wrong=wrong, validation_groups={"group_sex": groups}
    )
    (alarm,) = round_alarms(weights, np.tile([0, 1], 100), np.tile([0, 1], 50), _NAMES, found, 0.5, Monitoring(), 1)
    assert words in alarm.message


def test_a_wide_interval_over_the_floor_is_no_alarm() -> None:
    groups = np.array(["F"] * 30 + ["M"] * 970, dtype=object)
    weights = np.ones(1000)
    weights[:30] = np.where(np.arange(30) < 10, 1.2, 0.05)
    (_, of_women) = group_weights(weights, {"group_sex": groups}, Monitoring())
    assert of_women.mean < 0.5 < of_women.high
    assert of_women.verdict == "ok"


def test_the_canary_alarm_is_that_of_a_failed_check() -> None:
    assert canary_alarm(None) == ()
    assert canary_alarm(CanaryCheck(bar=0.5, flipped=50, kept=50, auroc=0.7, stderr=0.05)) == ()
    (alarm,) = canary_alarm(CanaryCheck(bar=0.5, flipped=50, kept=50, auroc=0.3, stderr=0.05))
    assert (alarm.code, alarm.value, alarm.bar) == (AlarmCode.CANARY, 0.3, 0.5)


def test_a_group_that_weighting_costs_raises_the_alarm() -> None:
    labels = np.zeros(400, dtype=np.int64)
    groups = {"group_sex": np.array(["F"] * 100 + ["M"] * 300, dtype=object)}
    uniform = np.tile([1.0, 0.0], (400, 1))
    shipped = uniform.copy()
    shipped[:20] = [0.0, 1.0]  # 80 % of F
    found = group_accuracies(labels, groups, shipped, uniform)
    (alarm,) = worst_group_alarms(found, 30)
    assert (alarm.code, alarm.subject, alarm.value) == (AlarmCode.WORST_GROUP, "group_sex = F", 0.8)
    assert worst_group_alarms(found, 101) == ()
    assert worst_group_alarms(group_accuracies(labels, groups, shipped, None), 30) == ()
    assert alarm.key == "WORST_GROUP:group_sex = F"
