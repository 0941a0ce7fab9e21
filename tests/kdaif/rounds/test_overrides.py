import dataclasses

import numpy as np
import pytest
import torch

from kdaif.datasets import DistillationData
from tests.kdaif.rounds.test_train_arm import assert_close, data, last_weights, run, spec, wrong_targets

GIVEN = {0: 0.0, 3: 2.5, 8: 1.0, 11: 40.0}


def overridden(n: int = 80) -> DistillationData:
    given = data(n)
    overrides = np.full(n, np.nan)
    for place, weight in GIVEN.items():
        overrides[place] = weight
    return dataclasses.replace(given, unlabeled=dataclasses.replace(given.unlabeled, weight_override=overrides))


@pytest.mark.parametrize("scout_epochs", [0, 3])
@pytest.mark.parametrize("target", ["keep", "blend"])
def test_an_override_is_the_weight_in_every_round_and_the_others_keep_mean_one(scout_epochs: int, target: str) -> None:
    outcomes = run("influence", overridden(), spec(scout_epochs=scout_epochs, target=target))
    others = np.setdiff1d(np.arange(80), list(GIVEN))
    assert len(outcomes) == 3
    for outcome in outcomes:
        weights = outcome.state.tensors["weighting/weights"].numpy()
        assert {place: weights[place] for place in GIVEN} == GIVEN
        assert weights[others].mean() == pytest.approx(1.0, abs=1e-12)
    assert np.unique(weights[others]).size > 70  # the last of them were scored


def test_an_overridden_row_keeps_the_teachers_target() -> None:
    targets = outcomes_targets(overridden())
    untouched = outcomes_targets(data(80))
    teacher = torch.log_softmax(torch.from_numpy(wrong_targets(data(80), 0.4).logits) / 2.0, dim=1)
    for place in GIVEN:
        torch.testing.assert_close(targets[place], teacher[place])
    # Without the override, a row of these would have moved.
    assert max(float((untouched[place] - teacher[place]).abs().max()) for place in GIVEN) > 0.1


def outcomes_targets(given: DistillationData) -> torch.Tensor:
    return run("influence", given, spec(target="blend"))[-1].state.tensors["weighting/log_targets"]


def test_other_arms_do_not_know_of_overrides() -> None:
    for arm in ("uniform", "supervised", "oracle"):
        assert_close(run(arm, overridden(), spec())[-1].state, run(arm, data(80), spec())[-1].state)


def test_an_override_changes_what_the_student_learns() -> None:
    first, second = (run("influence", given, spec())[0].state for given in (overridden(), data(80)))
    assert not torch.equal(first.tensors["student/head.weight"], second.tensors["student/head.weight"])


@pytest.mark.parametrize("after", [0, 1])
def test_a_resumed_arm_honours_them_alike(after: int) -> None:
    whole = run("influence", overridden(), spec(scout_epochs=0))
    rest = run("influence", overridden(), spec(scout_epochs=0), resume=whole[after].state)
    assert_close(whole[-1].state, rest[-1].state)


def test_the_table_tells_overrides_beside_what_kdaif_thinks() -> None:
    given = overridden()
    rows = {row["id"]: row for row in last_weights(run("influence", given, spec())).to_pylist()}
    ids = given.unlabeled.ids.tolist()
    for place, weight in GIVEN.items():
        assert rows[ids[place]]["weight_override"] == rows[ids[place]]["weight"] == weight
        assert np.isfinite(rows[ids[place]]["log_odds"])
    assert sum(row["weight_override"] is None for row in rows.values()) == 80 - len(GIVEN)


def test_overrides_of_every_row_leave_nothing_to_weigh() -> None:
    given = data(40)
    for weight in (0.0, 3.0):
        rows = dataclasses.replace(given.unlabeled, weight_override=np.full(40, weight))
        outcome = run("influence", dataclasses.replace(given, unlabeled=rows), spec())[-1]
        assert (outcome.state.tensors["weighting/weights"].numpy() == weight).all()
        assert np.isfinite(outcome.metrics["train_loss"])
