import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from kdaif.datasets import DistillationData
from kdaif.records import CanaryCheck
from kdaif.rounds import ArmState, Canaries, judge_canaries, plant_canaries, side_arm_spec, train_arm
from kdaif.teachers import SoftTargets
from tests.kdaif.rounds.test_train_arm import CPU, data, part, spec, wrong_targets


def rows_of(gate: int = 60, labeled: int = 60, n: int = 200) -> DistillationData:
    return dataclasses.replace(data(n), gate=part(gate, 3), labeled=part(labeled, 1))


def planted(given: DistillationData, seed: int = 0) -> Canaries:
    return plant_canaries(given, wrong_targets(given, 0.3), seed)


def content(features: Any) -> set[bytes]:
    return {row.tobytes() for row in features}


def test_canaries_are_the_gate_and_a_fifth_of_l_and_stand_in_one_part_alone() -> None:
    given = rows_of()
    canaries = planted(given)
    taken = content(canaries.data.unlabeled.features[200:])
    from_labeled = taken & content(given.labeled.features)
    assert content(given.gate.features) <= taken
    assert len(from_labeled) == len(taken) - 60
    per_class = np.bincount(given.labeled.labels)
    assert len(from_labeled) == sum(count // 5 for count in per_class)
    assert taken.isdisjoint(content(canaries.data.labeled.features))
    assert len(canaries.data.labeled) == 60 - len(from_labeled)
    assert len(canaries.data.gate) == 0
    assert (np.bincount(canaries.data.labeled.labels) >= 0.8 * per_class).all()
    # U itself, V and the job's own data stay as they are.
    np.testing.assert_array_equal(canaries.data.unlabeled.features[:200], given.unlabeled.features)
    assert canaries.data.validation is given.validation
    assert len(given.labeled) == 60


def test_no_more_than_200_and_in_the_shares_of_the_classes() -> None:
    given = rows_of(gate=900, labeled=900)
    canaries = planted(given)
    assert sum(canaries.counts()) == 200
    truth = canaries.data.unlabeled.truth[200:]  # type: ignore[index]
    np.testing.assert_allclose(np.bincount(truth) / 200, np.bincount(given.gate.labels) / 900, atol=0.01)
    assert len(canaries.data.labeled) == 900


def test_half_of_each_class_is_flipped_and_the_rest_is_right() -> None:
    canaries = planted(rows_of())
    truth = canaries.data.unlabeled.truth[200:]  # type: ignore[index]
    said = canaries.targets.logits[200:].argmax(axis=1)
    np.testing.assert_array_equal(said != truth, canaries.flipped)
    for label in range(3):
        flipped = canaries.flipped[truth == label]
        assert abs(int(flipped.sum()) - int((~flipped).sum())) <= 1
    others = {(int(right), int(wrong)) for right, wrong in zip(truth, said, strict=True) if right != wrong}
    assert others == {(a, b) for a in range(3) for b in range(3) if a != b}


def test_soft_targets_are_the_teachers_and_classes_trade_places_where_it_never_says_one() -> None:
    given = rows_of()
    targets = wrong_targets(given, 0.3)
    noisy = targets.logits + np.random.default_rng(1).normal(size=targets.logits.shape).astype(np.float32) * 0.1
    canaries = plant_canaries(given, SoftTargets(noisy, None, None, None), 0)
    assert content(canaries.targets.logits[200:]) <= content(noisy)
    never = noisy.copy()
    never[:, 2] = -5.0  # this teacher never says class 2
    canaries = plant_canaries(given, SoftTargets(never, None, None, None), 0)
    last = canaries.targets.logits[200:]
    assert (last.argmax(axis=1) == 2).any()
    assert content(np.sort(last, axis=1)) <= content(np.sort(never, axis=1))


def test_the_same_seed_plants_the_same() -> None:
    first, second, other = planted(rows_of()), planted(rows_of()), planted(rows_of(), seed=1)
    np.testing.assert_array_equal(first.targets.logits, second.targets.logits)
    np.testing.assert_array_equal(first.data.unlabeled.features, second.data.unlabeled.features)
    np.testing.assert_array_equal(first.flipped, second.flipped)
    assert not np.array_equal(first.data.unlabeled.features, other.data.unlabeled.features)


@pytest.mark.parametrize(("gate", "enough"), [(9, False), (10, True), (0, False)])
def test_five_of_each_kind_are_enough(gate: int, enough: bool) -> None:
    assert planted(rows_of(gate=gate, labeled=4)).enough is enough


def test_ids_of_other_types_and_overrides_come_along() -> None:
    given = rows_of()
    overrides = np.where(np.arange(200) == 3, 2.5, np.nan)
    unlabeled = dataclasses.replace(given.unlabeled, ids=np.arange(200), weight_override=overrides)
    canaries = planted(dataclasses.replace(given, unlabeled=unlabeled))
    state = list(train_arm("influence", spec(), canaries.data, canaries.targets, seed=0, device=CPU))[-1].state
    weights = state.tensors["weighting/weights"]
    assert weights[3] == 2.5
    assert (weights[200:] != 2.5).all()


@pytest.mark.parametrize(
    ("weighting", "rounds"),
    [({}, 2), ({"scout_epochs": 0}, 2), ({"rounds_per_scoring": 3}, 3), ({"rounds_per_scoring": 9}, 1)],
)
def test_the_side_arm_ends_with_the_second_scoring(weighting: dict[str, int], rounds: int) -> None:
    side = side_arm_spec(spec(**weighting))
    assert side is not None
    assert side.training.rounds == rounds
    assert side.weighting == spec(**weighting).weighting


def test_without_a_scoring_there_is_no_side_arm() -> None:
    assert side_arm_spec(spec(scout_epochs=0, rounds_per_scoring=9)) is None


def judged(given: DistillationData) -> CanaryCheck:
    side = side_arm_spec(spec())
    assert side is not None
    canaries = planted(given)
    arm = train_arm("influence", side, canaries.data, canaries.targets, seed=0, device=CPU)
    return judge_canaries(canaries, list(arm)[-1].state, bar=0.5)


def test_weights_find_the_flipped_canaries_where_labels_can_be_learned_and_not_where_they_cannot() -> None:
    good = judged(rows_of())
    assert good.auroc is not None
    assert good.stderr is not None
    assert good.auroc - 3 * good.stderr > 0.5
    assert not good.failed
    given = rows_of(n=150)
    generator = np.random.default_rng(0)
    shuffled = {
        name: dataclasses.replace(rows, labels=generator.permutation(rows.labels))
        for name, rows in (("labeled", given.labeled), ("gate", given.gate), ("validation", given.validation))
    }
    blind = judged(dataclasses.replace(given, **shuffled))  # type: ignore[arg-type]
    assert blind.auroc is not None
    assert blind.stderr is not None
    assert abs(blind.auroc - 0.5) < 3 * blind.stderr


def test_the_figure_is_of_the_canaries_alone_and_of_low_weights() -> None:
    canaries = planted(rows_of())
    weights = np.concatenate([np.zeros(200), np.where(canaries.flipped, 0.1, 1.0)])
    state = ArmState({"weighting/weights": torch.from_numpy(weights)}, {})
    assert judge_canaries(canaries, state, 0.5).auroc == 1.0
    state = ArmState({"weighting/weights": torch.from_numpy(1.0 - weights)}, {})
    check = judge_canaries(canaries, state, 0.5)
    assert check.auroc == 0.0
    assert check.failed
    assert (check.flipped, check.kept) == canaries.counts()
