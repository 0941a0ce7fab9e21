"""K folds of the labels take turns as the judge, and all of them train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kdaif.errors import InvalidDataError
from kdaif.records import DistillationSpec, Training, Weighting
from kdaif.rounds import student_of
from kdaif.rounds.arm_rows import arm_rows, held_out_rows
from kdaif.rounds.cross_fitting import cross_fit, with_every_label
from kdaif.rounds.reweighting import Weighting as Weights
from kdaif.students import Student
from kdaif.workspace import Workspace
from tests.kdaif.rounds.test_train_arm import CPU, data, part, run, spec, wrong_targets

FOLDS = {"cross_fit_folds": 4, "blocks": 8}


def test_each_fold_is_judged_by_a_scout_that_has_not_seen_it_and_all_labels_are() -> None:
    given, chosen = data(60), spec(**FOLDS)
    rows = arm_rows(given, wrong_targets(given, 0.3), chosen.training, CPU)
    every = with_every_label(rows, held_out_rows(given.gate, Workspace(CPU)))
    n_labels = len(given.labeled) + len(given.validation)
    assert len(every.labeled.labels) == len(every.labeled.ids) == n_labels
    assert torch.equal(every.validation.labels, torch.from_numpy(given.gate.labels))
    seen: list[set[bytes]] = []
    judge = student_of(run("supervised", given, chosen)[-1].state, chosen, given)

    def train_scout(of_fold: object) -> Student:
        learned = {row.numpy().tobytes() for row in of_fold.labeled.features}  # type: ignore[attr-defined]
        judged = {row.numpy().tobytes() for row in of_fold.validation.features}  # type: ignore[attr-defined]
        assert not learned & judged
        assert len(learned | judged) == n_labels
        seen.append(judged)
        return judge

    found = cross_fit(every, Weights(np.ones(60), rows.teacher_log_targets), chosen, 0, train_scout)
    assert len(seen) == 4
    assert sum(map(len, seen)) == len(set().union(*seen)) == n_labels
    assert found.scores.per_block.shape == (8, 60)
    assert found.scores.shares.sum() == pytest.approx(1.0)
    assert len(found.beliefs.known_labels) == n_labels
    # One student judged all folds, so the mean over scouts is what it says alone.
    with torch.no_grad():
        said = torch.softmax(judge(torch.from_numpy(given.unlabeled.features)), dim=1)
    assert torch.allclose(found.beliefs.probabilities, said, atol=1e-6)


def test_there_is_one_scoring_and_it_finds_wrong_labels() -> None:
    given = dataclasses.replace(data(300), validation=part(15, 2))
    outcomes = run("influence", given, spec(**FOLDS), targets=wrong_targets(given, 0.4))
    assert [outcome.round for outcome in outcomes if outcome.weights is not None] == [1]
    assert outcomes[0].metrics["wrong_row_auroc"] > 0.7


@pytest.mark.parametrize("arm", ["supervised", "uniform"])
def test_every_arm_trains_on_every_label(arm: str) -> None:
    given = data(60)
    relabelled = dataclasses.replace(
        given, validation=dataclasses.replace(given.validation, labels=(given.validation.labels + 1) % 3)
    )
    for chosen, learns in ((spec(**FOLDS), True), (spec(), False)):
        before, after = (
            run(arm, rows, chosen)[-1].state.tensors["student/head.weight"] for rows in (given, relabelled)
        )
        assert torch.equal(before, after) is not learns


def test_without_gate_rows_nothing_is_left_to_measure_on() -> None:
    given = data(60)
    empty = dataclasses.replace(
        given.gate, ids=given.gate.ids[:0], features=given.gate.features[:0], labels=given.gate.labels[:0]
    )
    with pytest.raises(InvalidDataError, match="no gate row"):
        run("influence", dataclasses.replace(given, gate=empty), spec(**FOLDS))


@pytest.mark.parametrize(
    ("weighting", "training", "why"),
    [
        ({"cross_fit_folds": 1}, {}, "use 2 or more"),
        ({"cross_fit_folds": 3, "scout_epochs": 0}, {}, "needs scouts"),
        ({"cross_fit_folds": 3}, {"hard_label_weight": 0.0}, "hard_label_weight is 0"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    weighting: dict[str, int], training: dict[str, float], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        DistillationSpec(
            labeled="0" * 32, unlabeled="1" * 32, weighting=Weighting(**weighting), training=Training(**training)
        )
