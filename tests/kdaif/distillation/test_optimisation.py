import copy

import numpy as np
import pytest
import torch
from torch import nn

from kdaif.distillation import (
    BeliefRecord,
    LabeledRows,
    SoftRows,
    label_logits,
    log_probabilities,
    moving_average,
    round_schedule,
    train_steps,
)
from kdaif.errors import NonFiniteError
from kdaif.records.spec import Training

TRAINING = Training(temperature=2.0)


def rows(n_labeled: int = 12, n_unlabeled: int = 65) -> tuple[LabeledRows, SoftRows]:
    generator = torch.Generator().manual_seed(0)
    labeled = LabeledRows(
        torch.randn(n_labeled, 4, generator=generator),
        torch.arange(n_labeled) % 3,
        np.array([f"l{i}" for i in range(n_labeled)], dtype=object),
    )
    soft = SoftRows(
        torch.randn(n_unlabeled, 4, generator=generator),
        log_probabilities(torch.randn(n_unlabeled, 3, generator=generator), 2.0),
        torch.ones(n_unlabeled),
        np.array([f"u{i}" for i in range(n_unlabeled)], dtype=object),
    )
    return labeled, soft


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_training_lowers_the_objective_with_batchnorm_and_an_odd_last_row() -> None:
    labeled, soft = rows()
    student = network()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = [
        train_steps(
            student,
            optimizer,
            labeled,
            soft,
            round_schedule(12, 65, batch_size=32, epochs=5, seed=0, round_number=number),
            TRAINING,
        )
        for number in range(4)
    ]
    assert losses[-1] < losses[0]


def test_one_step_is_the_gradient_of_the_objective() -> None:
    labeled, soft = rows(4, 6)
    weights = torch.tensor([2.0, 0.0, 1.0, 0.5, 1.0, 1.5])
    soft = SoftRows(soft.features, soft.log_targets, weights, soft.ids)
    student = nn.Linear(4, 3)
    before = copy.deepcopy(student.state_dict())
    steps = round_schedule(4, 6, batch_size=6, epochs=1, seed=0, round_number=1)
    train_steps(student, torch.optim.SGD(student.parameters(), lr=0.1), labeled, soft, steps, TRAINING)

    fresh = nn.Linear(4, 3)
    fresh.load_state_dict(before)
    hard = nn.functional.cross_entropy(fresh(labeled.features), labeled.labels)
    log_p = (fresh(soft.features) / 2).log_softmax(1)
    divergence = 4 * (soft.log_targets.exp() * (soft.log_targets - log_p)).sum(1)
    (hard + (weights * divergence).sum() / weights.sum()).backward()
    assert fresh.weight.grad is not None
    torch.testing.assert_close(student.weight.detach(), before["weight"] - 0.1 * fresh.weight.grad)


def test_one_step_lowers_the_loss_that_the_job_chose() -> None:
    labeled, soft = rows(4, 6)
    training = Training(temperature=2.0, loss="reverse_kl", hard_label_weight=0.0)
    steps = round_schedule(4, 6, batch_size=6, epochs=1, seed=0, round_number=1)
    student = nn.Linear(4, 3)
    p = (student(soft.features) / 2).log_softmax(1)
    expected = float((4 * (p.exp() * (p - soft.log_targets)).sum(1)).mean().detach())
    loss = train_steps(student, torch.optim.SGD(student.parameters(), lr=0.1), labeled, soft, steps, training)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_without_soft_rows_only_the_labelled_rows_teach() -> None:
    labeled, _ = rows(4, 6)
    student = nn.Linear(4, 3)
    steps = round_schedule(4, 6, batch_size=6, epochs=1, seed=0, round_number=1)
    expected = float(nn.functional.cross_entropy(student(labeled.features), labeled.labels).detach())
    loss = train_steps(student, torch.optim.SGD(student.parameters(), lr=0.1), labeled, None, steps, TRAINING)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_each_step_takes_its_rate() -> None:
    labeled, _ = rows(4, 6)
    steps = round_schedule(4, 6, batch_size=3, epochs=1, seed=0, round_number=1)
    moved = []
    for rates in ([0.1, 0.0], [0.2, 0.0]):
        student = nn.Linear(4, 3)
        nn.init.zeros_(student.weight)
        nn.init.zeros_(student.bias)
        optimizer = torch.optim.SGD(student.parameters(), lr=9.0)
        train_steps(student, optimizer, labeled, None, steps, TRAINING, rates=rates)
        moved.append(student.weight.detach())
    assert moved[0].abs().max() > 0
    torch.testing.assert_close(moved[1], 2 * moved[0])


def test_the_average_follows_every_step_and_batchnorm_too() -> None:
    labeled, soft = rows()
    student = network()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    average = moving_average(student, 0.75)
    expected: dict[str, torch.Tensor] = {}
    for step in round_schedule(12, 65, batch_size=16, epochs=1, seed=0, round_number=1):
        train_steps(student, optimizer, labeled, soft, [step], TRAINING, average=average)
        now = {name: value.clone() for name, value in student.state_dict().items()}
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now} if expected else now
    found = average.module.state_dict()
    assert not torch.equal(found["0.weight"], student.state_dict()["0.weight"])
    for name in ("0.weight", "1.running_mean", "1.running_var", "3.bias"):
        torch.testing.assert_close(found[name], expected[name])


def test_a_non_finite_loss_names_the_row() -> None:
    labeled, soft = rows()
    student = network()
    steps = round_schedule(12, 65, batch_size=16, epochs=1, seed=0, round_number=1)
    number = next(i for i, step in enumerate(steps) if 7 in step.unlabeled)
    soft.log_targets[7] = torch.inf
    with pytest.raises(NonFiniteError, match=rf"batch {number} .* \(ids u7\)"):
        train_steps(student, torch.optim.AdamW(student.parameters()), labeled, soft, steps, TRAINING)


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * torch.inf


class _Explodes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = _InfiniteGradient.apply(self.linear(x))
        return output


def test_a_non_finite_gradient_stops_before_it_reaches_the_parameters() -> None:
    labeled, soft = rows()
    student = _Explodes()
    before = student.linear.weight.detach().clone()
    steps = round_schedule(12, 65, batch_size=16, epochs=1, seed=0, round_number=1)
    with pytest.raises(NonFiniteError, match="gradient of batch 0"):
        train_steps(student, torch.optim.AdamW(student.parameters()), labeled, soft, steps, TRAINING)
    assert torch.equal(student.linear.weight, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bfloat16_on_a_gpu_stays_close_to_float32_on_the_cpu() -> None:
    losses = []
    for device in ("cpu", "cuda"):
        labeled, soft = rows()
        student = network().to(device)
        labeled = LabeledRows(labeled.features.to(device), labeled.labels.to(device), labeled.ids)
        soft = SoftRows(soft.features.to(device), soft.log_targets.to(device), soft.weights.to(device), soft.ids)
        steps = round_schedule(12, 65, batch_size=32, epochs=5, seed=0, round_number=1)
        losses.append(train_steps(student, torch.optim.AdamW(student.parameters()), labeled, soft, steps, TRAINING))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_the_record_holds_what_the_student_said_before_each_step() -> None:
    labeled, soft = rows(4, 6)
    student = nn.Linear(4, 3)
    said = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = label_logits(student(soft.features).detach(), said)
    before = student(soft.features).detach().softmax(1)
    one_step = round_schedule(4, 6, batch_size=6, epochs=1, seed=0, round_number=1)
    record = BeliefRecord(said, 3)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    train_steps(student, optimizer, labeled, soft, one_step, TRAINING, record=record)
    torch.testing.assert_close(record.label_logits(), expected)
    torch.testing.assert_close(record.probabilities(), before)
    after = label_logits(student(soft.features).detach(), said)
    train_steps(student, optimizer, labeled, soft, one_step, TRAINING, record=record)
    torch.testing.assert_close(record.label_logits(), (expected + after) / 2)
    torch.testing.assert_close(record.probabilities().sum(1), torch.ones(6))


def test_steps_that_wait_are_added_as_if_each_had_been_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    passes = [generator.permutation(9)[:5] for _ in range(7)]  # some rows come in several of them
    said = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for most_waiting in (1, 40, 10_000):
        monkeypatch.setattr("kdaif.distillation.beliefs._MOST_WAITING", most_waiting)
        record = BeliefRecord(torch.arange(9) % 3, 3)
        for rows_of_step, logits in zip(passes, said, strict=True):
            record.add(rows_of_step, logits)
        found.append(torch.cat([record.probabilities(), record.label_logits()[:, None]], dim=1))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_label_logits_are_log_odds_and_clipped() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0], [50.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    p = logits.softmax(1)[0, 1]
    found = label_logits(logits, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(found, torch.stack([(p / (1 - p)).log(), torch.tensor(8.0), torch.tensor(-8.0)]))


def test_a_row_that_was_never_seen_has_no_opinion() -> None:
    record = BeliefRecord(torch.tensor([1, 0]), 2)
    assert record.label_logits().tolist() == [0.0, 0.0]
    assert record.probabilities().tolist() == [[0.0, 0.0], [0.0, 0.0]]
