"""Loss, learning rates, averages, class balance and patience, through whole arms."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional

from kdaif.distillation import distillation_loss, log_probabilities, round_schedule
from kdaif.errors import InvalidInputError
from kdaif.records import DistillationSpec, Mlp, Training
from kdaif.records.architectures import Cnn
from kdaif.rounds import ArmState, RoundOutcome, round_of_student, student_of
from kdaif.students import Student, build_student

from .test_train_arm import CPU, SMALL, assert_close, data, run, spec, wrong_targets


def with_training(chosen: DistillationSpec, **settings: Any) -> DistillationSpec:
    return chosen.model_copy(update={"training": Training(**{**chosen.training.model_dump(), **settings})})


def through_a_file(state: ArmState) -> ArmState:
    return ArmState(load(save(state.tensors)), json.loads(json.dumps(state.numbers)))


def validation_loss(student: torch.nn.Module, given: Any) -> float:
    with torch.no_grad():
        logits = student(torch.from_numpy(given.validation.features))
    return float(functional.cross_entropy(logits, torch.from_numpy(given.validation.labels)))


def test_an_arm_with_the_defaults_is_a_plain_loop_to_the_bit() -> None:
    given, chosen = data(40), spec()
    targets = wrong_targets(given, 0.4)
    reference = np.concatenate([given.labeled.features, given.unlabeled.features])
    student = build_student(SMALL, given.signature, 3, reference, 0)
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-3, weight_decay=5e-4, fused=True)
    labeled, labels = torch.from_numpy(given.labeled.features), torch.from_numpy(given.labeled.labels)
    unlabeled, q = torch.from_numpy(given.unlabeled.features), log_probabilities(torch.from_numpy(targets.logits), 2.0)
    for number in (1, 2, 3):
        for step in round_schedule(15, 40, batch_size=32, epochs=4, seed=0, round_number=number):
            logits = student(torch.cat([labeled[step.labeled], unlabeled[step.unlabeled]]))
            n = len(step.labeled)
            soft = distillation_loss(logits[n:], q[step.unlabeled], 2.0)
            loss = functional.cross_entropy(logits[:n], labels[step.labeled], reduction="none").mean()
            loss = loss + (torch.ones(len(soft)) * soft).sum() / torch.ones(len(soft)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    outcomes = run("uniform", given, chosen, targets=targets)
    state = outcomes[-1].state
    assert all(torch.equal(state.tensors[f"student/{name}"], value) for name, value in student.state_dict().items())
    assert state.numbers == {"round": 3, "seed": 0}
    assert {name.split("/")[0] for name in state.tensors} == {"student", "optimizer", "weighting"}
    assert [outcome.last for outcome in outcomes] == [False, False, True]


@pytest.mark.parametrize("arm", ["influence", "uniform"])
@pytest.mark.parametrize("student", [Mlp(hidden_sizes=(16,), dropout=0.3), Cnn(channels=(4,), hidden_size=8)])
def test_a_resumed_arm_with_every_option_equals_the_uninterrupted_one(arm: str, student: Mlp | Cnn) -> None:
    given = data(65, image=True)
    chosen = with_training(
        spec(student),
        loss="dkd",
        dkd_beta=2.0,
        standardise_logits=True,
        schedule="cosine",
        ema_decay=0.8,
        class_balanced=True,
        patience_rounds=3,
    )
    whole = run(arm, given, chosen)
    for interrupted in (0, 1):
        rest = run(arm, given, chosen, resume=through_a_file(whole[interrupted].state))
        assert [outcome.round for outcome in rest] == list(range(interrupted + 2, 4))
        assert_close(whole[2].state, rest[-1].state)
        assert whole[2].metrics["validation_loss"] == pytest.approx(rest[-1].metrics["validation_loss"], abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "reverse_kl"},
        {"loss": "symmetric_kl"},
        {"loss": "dkd"},
        {"standardise_logits": True},
        {"schedule": "cosine"},
        {"class_balanced": True},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_option_trains_another_student_that_has_learned(settings: dict[str, Any]) -> None:
    given = data(150)
    clean = wrong_targets(given, 0.0)
    plain, other = (
        run("influence", given, each, targets=clean)[-1] for each in (spec(), with_training(spec(), **settings))
    )
    assert not torch.equal(plain.state.tensors["student/head.weight"], other.state.tensors["student/head.weight"])
    assert other.metrics["validation_accuracy"] > 0.75


@pytest.mark.parametrize("settings", [{"loss": "reverse_kl"}, {"loss": "dkd"}, {"standardise_logits": True}])
def test_wrong_rows_are_found_with_other_losses(settings: dict[str, Any]) -> None:
    outcome = run("influence", data(300), with_training(spec(), **settings))[1]
    assert outcome.metrics["wrong_row_auroc"] > 0.75


@pytest.mark.parametrize("settings", [{"loss": "dkd"}, {"standardise_logits": True}])
def test_what_needs_three_classes_is_refused_for_two(settings: dict[str, Any]) -> None:
    given = dataclasses.replace(data(40), class_names=("x", "y"))
    with pytest.raises(InvalidInputError, match=f"spec.training.{next(iter(settings))}: .*3 or more classes"):
        run("uniform", given, with_training(spec(), **settings), targets=wrong_targets(given, 0.0))


def average_of(state: ArmState) -> dict[str, torch.Tensor]:
    prefix = "average/module."
    return {name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize("student", [SMALL, Cnn(channels=(4,), hidden_size=8)], ids=["mlp", "cnn"])
def test_the_average_is_what_is_measured_and_what_comes_out(student: Mlp | Cnn) -> None:
    given = data(60, image=True)
    chosen = with_training(spec(student), ema_decay=0.9)
    averaged, plain = (run("uniform", given, each) for each in (chosen, spec(student)))
    state = averaged[-1].state
    # The average looks on: the student that learns is the same without it.
    assert torch.equal(state.tensors["student/head.weight"], plain[-1].state.tensors["student/head.weight"])
    given_out = student_of(state, chosen, given)
    expected = average_of(state)
    assert all(torch.equal(expected[name], value) for name, value in given_out.state_dict().items())
    assert not torch.equal(given_out.head.weight, state.tensors["student/head.weight"])
    assert averaged[-1].metrics["validation_loss"] == pytest.approx(validation_loss(given_out, given), rel=1e-5)


def test_influence_is_scored_on_the_average() -> None:
    given = data(60)
    chosen = with_training(spec(), ema_decay=0.9)
    outcomes = run("influence", given, chosen)
    assert outcomes[1].weights is not None
    with torch.no_grad():
        logits = student_of(outcomes[0].state, chosen, given)(torch.from_numpy(given.unlabeled.features))
    confidence = dict(zip(given.unlabeled.ids.tolist(), logits.softmax(1).amax(1).tolist(), strict=True))
    for row in outcomes[1].weights.table().to_pylist():
        assert row["student_confidence"] == pytest.approx(confidence[row["id"]], rel=1e-5)


NOISY = dataclasses.replace(data(80), validation=data(80).test)
ROUNDS = 12


def patient(patience: int | None) -> DistillationSpec:
    return with_training(spec(), rounds=ROUNDS, learning_rate=2e-2, patience_rounds=patience)


def every_round() -> list[RoundOutcome]:
    return run("uniform", NOISY, patient(None), targets=wrong_targets(NOISY, 0.5))


def ends_at(losses: list[float], patience: int) -> tuple[int, int]:
    """Last and best round by the rule, counted from 1."""
    best = 0
    for number, loss in enumerate(losses):
        if loss < losses[best]:
            best = number
        if number - best >= patience:
            return number + 1, best + 1
    return len(losses), best + 1


@pytest.mark.parametrize("patience", [1, 2, 3, ROUNDS])
def test_an_arm_ends_when_patience_does_and_gives_the_best_round_s_student(patience: int) -> None:
    plain, chosen = every_round(), patient(patience)
    last, best = ends_at([outcome.metrics["validation_loss"] for outcome in plain], patience)
    assert best < last
    assert last < ROUNDS or patience == ROUNDS
    targets = wrong_targets(NOISY, 0.5)
    stopped = run("uniform", NOISY, chosen, targets=targets)
    assert [outcome.round for outcome in stopped] == list(range(1, last + 1))
    assert [outcome.last for outcome in stopped] == [False] * (last - 1) + [True]
    state = stopped[-1].state
    assert round_of_student(state) == best
    student = student_of(state, chosen, NOISY)
    expected = student_of(plain[best - 1].state, patient(None), NOISY)
    assert isinstance(student, Student)
    assert all(torch.equal(student.state_dict()[name], value) for name, value in expected.state_dict().items())
    assert run("uniform", NOISY, chosen, targets=targets, resume=through_a_file(state)) == []
    # Resumed after the best round: what was best is still known.
    rest = run("uniform", NOISY, chosen, targets=targets, resume=through_a_file(stopped[last - 2].state))
    assert_close(rest[-1].state, state)
    assert rest[-1].last


def test_with_an_average_the_best_round_s_average_comes_out() -> None:
    chosen = with_training(patient(2), ema_decay=0.9)
    outcomes = run("uniform", NOISY, chosen, targets=wrong_targets(NOISY, 0.5))
    best = round_of_student(outcomes[-1].state)
    assert best < len(outcomes)
    found = student_of(outcomes[-1].state, chosen, NOISY).state_dict()
    expected = average_of(outcomes[best - 1].state)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_all_rounds_run_without_patience_and_the_last_student_comes_out() -> None:
    outcomes = every_round()
    assert len(outcomes) == ROUNDS
    assert round_of_student(outcomes[-1].state) == ROUNDS
    student = student_of(outcomes[-1].state, patient(None), NOISY)
    assert torch.equal(student.head.weight, outcomes[-1].state.tensors["student/head.weight"])
    assert student.head.weight.device == CPU
