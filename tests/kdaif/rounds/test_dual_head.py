"""A student that has a head for labels and one for soft targets while it trains, through whole arms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from kdaif.distillation import distillation_loss, log_probabilities, round_schedule
from kdaif.records import DistillationSpec, Training, Weighting
from kdaif.rounds import ArmState, evidence_of, student_of
from kdaif.rounds.arm_rows import arm_rows
from kdaif.rounds.reweighting import Weighting as Weights
from kdaif.rounds.reweighting import score_rows
from kdaif.students import BothHeads, Student, build_student

from .test_train_arm import CPU, SMALL, assert_close, data, run, spec, wrong_targets
from .test_training_options import through_a_file, with_training


def dual(**weighting: Any) -> DistillationSpec:
    return with_training(spec(**{"solver": "cg", "blocks": 4, **weighting}), dual_head=True)


def trained(state: ArmState, given: Any) -> Student:
    """With both heads, as it trained."""
    student = build_student(SMALL, given.signature, 3, given.unlabeled.features, 0)
    student.add_soft_head()
    kept = {name: tensor for name, tensor in state.tensors.items() if name.startswith("student/")}
    student.load_state_dict({name.removeprefix("student/"): tensor for name, tensor in kept.items()})
    return student.eval()


def test_an_arm_is_a_plain_loop_over_two_heads() -> None:
    given = data(40)
    targets = wrong_targets(given, 0.4)
    reference = np.concatenate([given.labeled.features, given.unlabeled.features])
    student = build_student(SMALL, given.signature, 3, reference, 0)
    soft_head = torch.nn.Linear(16, 3)
    soft_head.load_state_dict(student.head.state_dict())
    parameters = [*student.parameters(), *soft_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=5e-4, fused=True)
    labeled, labels = torch.from_numpy(given.labeled.features), torch.from_numpy(given.labeled.labels)
    unlabeled, q = torch.from_numpy(given.unlabeled.features), log_probabilities(torch.from_numpy(targets.logits), 2.0)
    for number in (1, 2, 3):
        for step in round_schedule(15, 40, batch_size=32, epochs=4, seed=0, round_number=number):
            hard = functional.cross_entropy(student(labeled[step.labeled]), labels[step.labeled])
            of_soft_head = soft_head(student.features(unlabeled[step.unlabeled]))
            loss = hard + distillation_loss(of_soft_head, q[step.unlabeled], 2.0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    state = run("uniform", given, dual(), targets=targets)[-1].state
    expected = student.state_dict() | {f"soft_head.{name}": value for name, value in soft_head.state_dict().items()}
    found = trained(state, given).state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert (student.head.weight - soft_head.weight).abs().max() > 0.05


def test_the_student_that_comes_out_has_the_head_that_learned_the_labels_alone() -> None:
    given = data(60)
    state = run("influence", given, dual())[-1].state
    student, both = student_of(state, dual(), given), trained(state, given)
    assert not any(name.startswith("soft_head") for name in student.state_dict())
    rows = torch.from_numpy(given.test.features)
    with torch.no_grad():
        assert torch.equal(student(rows), BothHeads(both)(rows)[:, :3])


def test_without_soft_targets_there_is_no_difference() -> None:
    given = data(40)
    one = run("supervised", given, spec())[-1].state
    two = run("supervised", given, dual())[-1].state
    for name, tensor in one.tensors.items():
        assert torch.equal(two.tensors[name], tensor), name
    # Nothing taught the second head, which is where it began.
    assert torch.equal(
        two.tensors["student/soft_head.weight"],
        build_student(SMALL, given.signature, 3, given.unlabeled.features, 0).head.weight,
    )


@pytest.mark.parametrize("arm", ["influence", "uniform"])
def test_a_resumed_arm_equals_the_uninterrupted_one(arm: str) -> None:
    given, chosen = data(65), with_training(dual(), ema_decay=0.8, patience_rounds=3, loss="dkd", dkd_beta=2.0)
    whole = run(arm, given, chosen)
    rest = run(arm, given, chosen, resume=through_a_file(whole[0].state))
    assert_close(whole[2].state, rest[1].state)
    assert "soft_head.weight" not in student_of(whole[2].state, chosen, given).state_dict()


def test_the_table_tells_the_loss_of_the_soft_head_and_the_class_of_the_other() -> None:
    given, chosen = data(60), dual()
    targets, (first, second, _) = wrong_targets(given, 0.4), run("influence", given, chosen)
    assert second.weights is not None
    table = second.weights.table()
    at = {row_id: place for place, row_id in enumerate(given.unlabeled.ids.tolist())}
    order = [at[row_id] for row_id in table.column("id").to_pylist()]
    with torch.no_grad():
        both = BothHeads(trained(first.state, given))(torch.from_numpy(given.unlabeled.features))[order]
    q = log_probabilities(torch.from_numpy(targets.logits), 2.0)[order]
    losses = distillation_loss(both[:, 3:], q, 2.0)
    np.testing.assert_allclose(table.column("distillation_loss").to_numpy(), losses, rtol=1e-4, atol=1e-5)
    said = [given.class_names[code] for code in both[:, :3].argmax(1).tolist()]
    assert table.column("student_label").to_pylist() == said
    assert said != [given.class_names[code] for code in both[:, 3:].argmax(1).tolist()]


def test_influence_in_an_arm_is_on_the_head_that_predicts_of_the_loss_of_the_other() -> None:
    given = data(30)
    # Where damping drowns the curvature, influence is the product of two gradients: here of the body alone.
    chosen = dual(damping=1e4, cg_steps=20)
    targets = wrong_targets(given, 0.4)
    student = trained(run("uniform", given, chosen, targets=targets)[0].state, given)
    rows = arm_rows(given, targets, chosen.training, CPU)
    found = score_rows(student, rows, Weights(np.ones(30), rows.teacher_log_targets), chosen, 0).influence

    body = list(student.body.parameters())

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, body, retain_graph=True)])

    of_validation = gradient(functional.cross_entropy(student(rows.validation.features), rows.validation.labels))
    losses = distillation_loss(BothHeads(student)(rows.features)[:, 3:], rows.teacher_log_targets, 2.0)
    expected = [-float(gradient(loss) @ of_validation) / 1e4 for loss in losses]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("folds", [{}, {"cross_fit_folds": 4, "blocks": 8}], ids=["validation", "folds"])
def test_scouts_judge_by_what_labels_taught_them(folds: dict[str, int]) -> None:
    """A scout never met a soft target, so its second head is a copy of the first, as if it had one head alone."""
    given = data(60)
    one, two = (
        run("influence", given, chosen)[0].weights
        for chosen in (spec(solver="cg", **{"blocks": 4, **folds}), dual(**folds))
    )
    assert one is not None
    assert two is not None
    plain, table = one.table(), two.table()
    for name in ("student_label", "distillation_loss", "z_agreement"):
        assert table.column(name).equals(plain.column(name)), name
    assert not table.column("z_influence").equals(plain.column("z_influence"))


def test_wrong_soft_targets_cost_it_less() -> None:
    given = data(300)
    targets = wrong_targets(given, 0.6)
    one, two = (
        student_of(run("uniform", given, chosen, targets=targets)[-1].state, chosen, given)
        for chosen in (spec(), dual())
    )
    rows, labels = torch.from_numpy(given.test.features), torch.from_numpy(given.test.labels)
    with torch.no_grad():
        right = [float((student(rows).argmax(1) == labels).float().mean()) for student in (one, two)]
    assert right[1] > right[0]


def test_a_sample_is_explained_by_its_neighbours_and_without_pairs() -> None:
    given, chosen = data(60), dual()
    last = run("influence", given, chosen)[-1]
    targets = wrong_targets(given, 0.4)
    found = evidence_of(last.state, given, targets, np.array([3, 5]), chosen, device=CPU, budget_s=60.0)
    assert found.pairs == ()
    assert found.nearest.searched == 75
    assert (found.nearest.places >= 0).all()


@pytest.mark.parametrize(
    ("training", "weighting", "told"),
    [
        ({}, {}, "weighting.solver 'head' sees the head that predicts alone.*'cg' or 'ekfac'"),
        ({"hard_label_weight": 0.0}, {"solver": "cg"}, "the head that predicts would learn nothing"),
    ],
)
def test_what_it_cannot_go_with_is_refused(training: dict[str, Any], weighting: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DistillationSpec(
            labeled="0" * 32,
            unlabeled="1" * 32,
            training=Training(dual_head=True, **training),
            weighting=Weighting(**weighting),
        )


def test_plain_distillation_needs_no_solver() -> None:
    uniform = Weighting(method="uniform")
    assert DistillationSpec(labeled="0" * 32, unlabeled="1" * 32, training=Training(dual_head=True), weighting=uniform)
