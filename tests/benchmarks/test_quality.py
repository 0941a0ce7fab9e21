from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch

from benchmarks.quality.arms import DEFAULT, ORACLE, SUPERVISED, UNIFORM, run_arm
from benchmarks.quality.cells import Cell
from benchmarks.quality.conditions import CONDITIONS, OWN, corrupted_targets, default_spec, plant_instance_noise
from benchmarks.quality.loop import Job, Moment, Rival, Weigh, train_rival
from benchmarks.quality.page import page
from benchmarks.quality.parts import one_hot_logits
from benchmarks.quality.sets.pictures import digits, digits_minority, minority_class
from benchmarks.quality.summary import by_condition, figures, noisy
from kdaif.datasets import DistillationData
from kdaif.evaluation import predict
from kdaif.records.spec import DistillationSpec
from kdaif.records.teachers import TrainedTeacher
from kdaif.rounds import student_of, train_arm
from kdaif.teachers import SoftTargets

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the benchmark's own processes: several threads on so small a network wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def short_spec(data: DistillationData) -> DistillationSpec:
    spec = default_spec(data, 0)
    training = spec.training.model_copy(update={"rounds": 2, "epochs_per_round": 4})
    source = TrainedTeacher(epochs=40)
    return spec.model_copy(update={"training": training, "teacher": spec.teacher.model_copy(update={"source": source})})


def uniform(job: Job) -> Weigh:
    def weigh(moment: Moment) -> np.ndarray:
        return np.ones(len(moment.losses))

    return weigh


def test_digits_one_seed_from_training_to_the_page() -> None:
    data = digits(0)
    spec = short_spec(data)
    targets = corrupted_targets(spec, data, CONDITIONS["class-swap .4"])
    measured = {arm: run_arm(arm, spec, data, targets, 0) | {"wrong_share": 0.4} for arm in (UNIFORM, DEFAULT, ORACLE)}
    assert measured[ORACLE]["accuracy"] > measured[UNIFORM]["accuracy"] > 0.5
    assert measured[DEFAULT]["log_odds_auroc"] > 0.8
    conditions = by_condition([Cell("digits", "class-swap .4", 0, arm, measures) for arm, measures in measured.items()])
    assert conditions[0].kind == "planted"
    assert conditions[0].points_over(UNIFORM) == pytest.approx(
        100 * (measured[DEFAULT]["accuracy"] - measured[UNIFORM]["accuracy"])
    )
    found = figures(
        conditions, [Cell("digits", "class-swap .4", 0, DEFAULT, measured[DEFAULT])], {"loo_pearson_logreg": 0.5}
    )
    assert found["overhead_ratio"] > 0
    text = page(conditions, found, {"trec": "no data"}, machine="a machine", commit="0" * 40, quick=True)
    assert "`loo_pearson_logreg` is 0.500, below .95." in text
    assert "- trec: no data" in text


@pytest.mark.parametrize("when", ["once", "often", "after_round"])
def test_the_rivals_loop_with_equal_weights_is_the_products_uniform_arm(
    when: Literal["once", "often", "after_round"],
) -> None:
    data = digits(0)
    spec = short_spec(data)
    targets = SoftTargets(one_hot_logits(data.unlabeled.truth, 10), None, None, None)
    ours = list(train_arm(UNIFORM, spec, data, targets, seed=0, device=CPU))[-1]
    theirs = train_rival(Rival(uniform, when), spec, data, targets, 0)
    np.testing.assert_array_equal(
        predict(student_of(ours.state, spec, data), data.test.features, CPU),
        predict(theirs.student, data.test.features, CPU),
    )


def test_real_weak_labels_are_those_of_people_and_rules() -> None:
    def cells(data_set: str, uniform: float, influence: float) -> list[Cell]:
        measures = {"wrong_share": 0.2, "worst_class": 0.1, "train_seconds": 1.0, "weighing_seconds": 0.1}
        accuracies = {SUPERVISED: 0.45, UNIFORM: uniform, DEFAULT: influence, ORACLE: 0.9}
        return [
            Cell(data_set, OWN, 0, arm, measures | {"accuracy": value, "ess": 0.5}) for arm, value in accuracies.items()
        ]

    found = [
        *cells("trec", 0.5, 0.56),
        *cells("sms", 0.95, 0.96),
        *cells("youtube", 0.8, 0.85),
        *cells("cifar10n_worse", 0.4, 0.42),
        *cells("cifar10n_random", 0.5, 0.52),
        *cells("cifar10_resnet56", 0.5, 0.49),
    ]
    conditions = by_condition(found)
    told = figures(conditions, found, {})
    assert told["real_weak_minus_uniform_points_min"] == pytest.approx(1.0)
    assert told["worst_condition_minus_uniform_points"] == pytest.approx(-1.0)
    assert len(noisy(conditions)) == 6
    text = page(conditions, told, {}, machine="a machine", commit="0" * 40, quick=False)
    assert "On cifar10_resnet56, own, it is 1.0 points under uniform." in text
    assert "rules or people labelled: trec, sms, youtube, cifar10n_worse, cifar10n_random." in text
    assert "The pseudo-labels of cifar10_resnet56 (-1.0 points) are a trained model's" in text
    assert "real weak labels of" not in text
    assert (
        "- In 1 of 6 conditions training on the labels alone does better, by 3.0 points at most (cifar10n_worse,"
        in text
    )
    (line,) = (line for line in text.splitlines() if line.startswith("| of rules, people"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["6", "+18.3", "+15.8", "+45.0", "5"]


def test_instance_noise_touches_the_share_it_says_and_confuses_like_rows_alike() -> None:
    data = digits(1)
    logits = one_hot_logits(data.unlabeled.truth, 10)
    noisy, planted = plant_instance_noise(logits, data.unlabeled.features, 0.4, 1)
    assert planted.mean() == pytest.approx(0.4)
    np.testing.assert_array_equal(noisy.argmax(1) != logits.argmax(1), planted)
    np.testing.assert_array_equal(np.sort(noisy, axis=1), np.sort(logits, axis=1))
    again, _ = plant_instance_noise(logits, data.unlabeled.features, 0.4, 1)
    np.testing.assert_array_equal(again, noisy)


def test_parts_share_no_row_and_the_minority_is_cut() -> None:
    whole, thinned = digits(2), digits_minority(2)
    parts = (whole.labeled, whole.validation, whole.gate, whole.unlabeled, whole.test)
    ids = np.concatenate([part.ids for part in parts])
    assert len(np.unique(ids)) == len(ids) == 1797
    assert (len(whole.labeled), len(whole.validation), len(whole.gate)) == (100, 80, 20)
    minority = minority_class(2, 10)
    assert whole.unlabeled.truth is not None
    assert thinned.unlabeled.truth is not None
    before, after = ((truth == minority).sum() for truth in (whole.unlabeled.truth, thinned.unlabeled.truth))
    assert 0.1 < after / before < 0.45
