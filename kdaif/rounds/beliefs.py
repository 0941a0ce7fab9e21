"""What the student thinks of the labels that it is shown, remembered over rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdaif.distillation import BeliefRecord, label_logits
from kdaif.rounds.arm_rows import ArmRows
from kdaif.students import Student

_TEXTS_PER_PASS = 4096


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Of one round, or smoothed over several; float32 on the device.

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
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Beliefs:
        """Back from `tensors`."""
        return cls(**{name: tensor.to(device) for name, tensor in tensors.items()})


def logits_of(student: Student, features: Tensor) -> Tensor:
    """Float32 `[N, C]` of raw rows, a part at a time for text, whose rows are a hundred times as large inside."""
    parts = torch.split(features, _TEXTS_PER_PASS) if student.signature.kind == "text" else (features,)
    return torch.cat([student(part) for part in parts]).float()


def present_beliefs(student: Student, rows: ArmRows) -> Beliefs:
    """Of the student as it is, which is honest of one that was never taught the pseudo-labels."""
    student.eval()
    with torch.no_grad():
        logits = logits_of(student, rows.features)
    said = label_logits(logits, rows.pseudo_label_codes)
    return Beliefs(said, _of_known_labels(student, rows), torch.softmax(logits, dim=1))


def beliefs_while_learning(record: BeliefRecord, student: Student, rows: ArmRows) -> Beliefs:
    """As a round met the rows of U, before it learned from them; of V after the round."""
    return Beliefs(record.label_logits(), _of_known_labels(student, rows), record.probabilities())


def smoothed(previous: Beliefs | None, new: Beliefs, smoothing: float) -> Beliefs:
    """Moving average: b <- e b + (1 - e) b_new; the first have nothing to be smoothed with."""
    if previous is None:
        return new
    before, now = previous.tensors(), new.tensors()
    return Beliefs(**{name: smoothing * before[name] + (1.0 - smoothing) * now[name] for name in now})


def _of_known_labels(student: Student, rows: ArmRows) -> Tensor:
    student.eval()
    with torch.no_grad():
        return label_logits(logits_of(student, rows.validation.features), rows.validation.labels)
