"""Training with a rival's weights: the product's own loop, rows and steps, with another hand on the weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import DistillationData
from kdaif.distillation import (
    SoftRows,
    Step,
    distillation_loss,
    log_probabilities,
    round_schedule,
    train_steps,
)
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.arm_rows import ArmRows, HeldOut, arm_rows
from kdaif.students import Student, build_student, standardisation
from kdaif.teachers import SoftTargets
from kdaif.weighting import normalise

_CPU = torch.device("cpu")
_PASSES_PER_EPOCH = 4


@dataclass(frozen=True, eq=False)
class Job:
    """What a rival may know before training. `held_out` is V and G together, for rivals that learn from them."""

    rows: ArmRows
    held_out: HeldOut
    spec: DistillationSpec
    seed: int


@dataclass(frozen=True, eq=False)
class Moment:
    """Where training stands when a rival is asked for weights.

    Attributes:
        job: the job.
        student: in eval mode.
        epoch: passes over U so far.
        log_student: log p at temperature 1, float32 `[N, C]`.
        losses: l_i, unweighted, float32 `[N]`.
    """

    job: Job
    student: Student
    epoch: float
    log_student: Tensor
    losses: Tensor

    def belief(self) -> NDArray[np.float64]:
        """The student's probability of each pseudo-label, `[N]`."""
        rows = np.arange(len(self.losses))
        p: NDArray[np.float64] = self.log_student.exp().double().numpy()[rows, self.job.rows.pseudo_labels]
        return p


Weigh = Callable[[Moment], NDArray[np.float64]]


@dataclass(frozen=True)
class Rival:
    """A weighting of U.

    Attributes:
        start: from the job to the function that weighs, which may keep a memory.
        when: once before training, four times an epoch, or after each round.
    """

    start: Callable[[Job], Weigh]
    when: Literal["once", "often", "after_round"]


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained student, the weights it ended with `[N]`, and where the time went."""

    student: Student
    weights: NDArray[np.float64]
    train_seconds: float
    weighing_seconds: float


def train_rival(
    rival: Rival, spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int
) -> Trained:
    """Same initial parameters, rows, order and steps as `train_arm` gives every arm of the seed."""
    rows = arm_rows(data, targets, spec.training, _CPU)
    inputs = standardisation([data.labeled.features, data.unlabeled.features], data.signature)
    student = build_student(spec.student, data.signature, len(data.class_names), inputs, seed)
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=spec.training.learning_rate, weight_decay=spec.training.weight_decay, fused=True
    )
    job = Job(rows, held_out(data), spec, seed)
    started = time.perf_counter()
    weigh = rival.start(job)
    weights = np.ones(len(rows.ids))
    weighing = 0.0
    if rival.when == "once":
        weights = weigh(_moment(job, student, 0.0))
    weighing += time.perf_counter() - started
    soft = SoftRows(rows.features, rows.teacher_log_targets, torch.from_numpy(weights).float(), rows.ids)
    training = 0.0
    for round_number in range(1, spec.training.rounds + 1):
        for number, steps in enumerate(_pieces(job, round_number, often=rival.when == "often")):
            if rival.when == "often":
                started = time.perf_counter()
                epoch = (round_number - 1) * spec.training.epochs_per_round + number / _PASSES_PER_EPOCH
                weights = weigh(_moment(job, student, epoch))
                soft = replace(soft, weights=torch.from_numpy(weights).float())
                weighing += time.perf_counter() - started
            started = time.perf_counter()
            train_steps(student, optimizer, rows.labeled, soft, steps, spec.training)
            training += time.perf_counter() - started
        if rival.when == "after_round":
            started = time.perf_counter()
            weights = weigh(_moment(job, student, float(round_number * spec.training.epochs_per_round)))
            soft = replace(soft, weights=torch.from_numpy(weights).float())
            weighing += time.perf_counter() - started
    return Trained(student.eval(), normalise(weights), training, weighing)


def held_out(data: DistillationData) -> HeldOut:
    """V and G together."""
    features = np.concatenate([data.validation.features, data.gate.features])
    labels = np.concatenate([data.validation.labels, data.gate.labels])
    return HeldOut(torch.from_numpy(features), torch.from_numpy(labels))


def _pieces(job: Job, round_number: int, *, often: bool) -> Iterator[Sequence[Step]]:
    training = job.spec.training
    schedule = round_schedule(
        len(job.rows.labeled.ids),
        len(job.rows.ids),
        batch_size=training.batch_size,
        epochs=training.epochs_per_round,
        seed=job.seed,
        round_number=round_number,
    )
    steps = list(schedule)
    n_pieces = training.epochs_per_round * _PASSES_PER_EPOCH if often else 1
    for piece in np.array_split(np.arange(len(steps)), n_pieces):
        yield [steps[at] for at in piece]


def _moment(job: Job, student: Student, epoch: float) -> Moment:
    student.eval()
    with torch.no_grad():
        logits = student(job.rows.features).float()
    losses = distillation_loss(logits, job.rows.teacher_log_targets[:], job.spec.training.temperature)
    return Moment(job, student, epoch, log_probabilities(logits), losses)
