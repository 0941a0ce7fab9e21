"""What monitoring sees in an arm, and what it does about a group that weighs too little."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.records.monitoring import Monitoring
from kdaif.rounds.watching import Watched, stability
from kdaif.teachers import SoftTargets
from tests.kdaif.rounds.test_train_arm import data, run, spec, wrong_targets

FLOOR = 0.9


def _grouped() -> tuple[DistillationData, SoftTargets]:
    """The rows of F have every wrong pseudo-label there is."""
    given = data()
    targets = wrong_targets(given, 0.4)
    assert targets.planted is not None
    groups = np.where(targets.planted, "F", "M").astype(object)
    of_validation = np.where(np.arange(len(given.validation)) % 2 == 0, "F", "M").astype(object)
    return (
        dataclasses.replace(
            given,
            unlabeled=dataclasses.replace(given.unlabeled, groups={"group_sex": groups}),
            validation=dataclasses.replace(given.validation, groups={"group_sex": of_validation}),
        ),
        targets,
    )


def _asked(given: DistillationData, targets: SoftTargets, *, wrong_on_f: bool) -> SoftTargets:
    said = given.validation.labels.copy()
    if wrong_on_f:
        said[given.validation.groups["group_sex"] == "F"] += 1
    return dataclasses.replace(targets, validation_logits=np.eye(3, dtype=np.float32)[said % 3])


def _last(given: DistillationData, targets: SoftTargets) -> tuple[Watched, NDArray[np.float64], list[str]]:
    chosen = spec(rounds_per_scoring=1).model_copy(update={"monitoring": Monitoring(group_floor=FLOOR)})
    outcome = run("influence", given, chosen, targets=targets)[-1]
    assert outcome.watched is not None
    assert outcome.weights is not None
    table = outcome.weights.table()
    return outcome.watched, table["weight"].to_numpy().astype(np.float64), table["group_sex"].to_pylist()


def _means(weights: NDArray[np.float64], names: list[str]) -> dict[str, float]:
    return {name: float(weights[np.array(names) == name].mean()) for name in ("F", "M")}


@pytest.mark.parametrize("asked", ["unknown", "wrong on F"])
def test_a_group_whose_labels_are_wrong_or_not_known_keeps_its_weight_and_raises_the_alarm(asked: str) -> None:
    given, targets = _grouped()
    if asked == "wrong on F":
        targets = _asked(given, targets, wrong_on_f=True)
    watched, weights, names = _last(given, targets)
    assert [alarm.subject for alarm in watched.alarms if alarm.code == "GROUP_FLOOR"] == ["group_sex = F"]
    assert _means(weights, names)["F"] < FLOOR - 0.1
    shown = next(group for group in watched.groups if group.name == "F")
    assert shown.mean == pytest.approx(_means(weights, names)["F"], rel=1e-4)
    assert shown.tracks_teacher_error is (True if asked == "wrong on F" else None)


def test_a_group_whose_labels_are_as_right_as_elsewhere_is_raised_to_its_floor() -> None:
    given, targets = _grouped()
    watched, weights, names = _last(given, _asked(given, targets, wrong_on_f=False))
    assert any(alarm.subject == "group_sex = F" for alarm in watched.alarms)
    assert _means(weights, names)["F"] == pytest.approx(FLOOR, rel=1e-4)
    assert weights.mean() == pytest.approx(1.0, rel=1e-4)


def test_stability_is_the_rank_correlation_of_two_scorings() -> None:
    weights = np.random.default_rng(0).random(100)
    assert stability(np.ones(100), weights, 0) == {}
    assert stability(weights, weights**3, 0) == {"stability": pytest.approx(1.0)}
    assert stability(weights, -weights, 0) == {"stability": pytest.approx(-1.0)}
