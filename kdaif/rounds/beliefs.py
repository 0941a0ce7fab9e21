"""What the student thinks of the labels that it is shown, remembered over rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdaif.distillation import BeliefRecord, label_logits
from kdaif.rounds.arm_rows import ArmRows
from kdaif.students import Student
from kdaif.workspace import Workspace

_ROWS_PER_PASS = 4096


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Of one round, or smoothed over several; float32 on the device. Never changed once made.

    Attributes:
        pseudo_labels: logit of the student's probability of each pseudo-label, `[N]`.
        known_labels: the same of the true labels of V, which it is never taught, `[M]`.
        probabilities: of each row of U at temperature 1, `[N, C]`.
    """

    pseudo_labels: Tensor
    known_labels: Tensor
    probabilities: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], workspace: Workspace) -> Beliefs:
        """Back from `tensors`."""
        return cls(**{name: workspace.moved(tensor.numpy()) for name, tensor in tensors.items()})


def logits_of(student: Student, features: Tensor, workspace: Workspace) -> Tensor:
    """Float32 `[N, C]` of raw rows, some at a time: what a network makes of a row can be a hundred times as large."""
    found = [student(features[rows]).float() for rows in workspace.passes(len(features), _ROWS_PER_PASS)]
    return torch.cat(found)


def present_beliefs(student: Student, rows: ArmRows) -> Beliefs:
    """Of the student as it is, which is honest of one that was never taught the pseudo-labels."""
    student.eval()
    workspace = rows.workspace
    said = workspace.empty((len(rows.ids),))
    probabilities = workspace.empty(tuple(rows.teacher_log_targets.shape))
    with torch.no_grad():
        for some in workspace.passes(len(rows.ids), _ROWS_PER_PASS):
            logits = student(rows.features[some]).float()
            said[some] = label_logits(logits, rows.pseudo_label_codes[some])
            probabilities[some] = torch.softmax(logits, dim=1)
    return Beliefs(said, _of_known_labels(student, rows), probabilities)


def beliefs_while_learning(record: BeliefRecord, student: Student, rows: ArmRows) -> Beliefs:
    """As a round met the rows of U, before it learned from them; of V after the round."""
    return Beliefs(record.label_logits(), _of_known_labels(student, rows), record.probabilities())


def smoothed(previous: Beliefs | None, new: Beliefs, smoothing: float, workspace: Workspace | None = None) -> Beliefs:
    """Moving average: b <- e b + (1 - e) b_new; the first have nothing to be smoothed with."""
    if previous is None:
        return new
    room = Workspace(new.probabilities.device) if workspace is None else workspace
    before, now = previous.tensors(), new.tensors()
    return Beliefs(**{name: _mixed(before[name], now[name], smoothing, room) for name in now})


def _mixed(before: Tensor, now: Tensor, smoothing: float, workspace: Workspace) -> Tensor:
    found = workspace.empty(tuple(now.shape), now.dtype)
    for rows in workspace.slabs(len(now), 4 * now[:1].nbytes):
        found[rows] = smoothing * before[rows] + (1.0 - smoothing) * now[rows]
    return found


def _of_known_labels(student: Student, rows: ArmRows) -> Tensor:
    student.eval()
    with torch.no_grad():
        return label_logits(logits_of(student, rows.validation.features, rows.workspace), rows.validation.labels)
