"""What the student thinks of the labels that it is shown, remembered over rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import BeliefRecord, label_logits
from kdaif.influence import ranked_rows
from kdaif.rounds.arm_rows import ArmRows
from kdaif.students import Student
from kdaif.weighting import least_sureness, log_likelihood_ratio, sureness_of, trust_slope
from kdaif.workspace import Workspace

_ROWS_PER_PASS = 4096


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Of one round, or smoothed over several; float32 on the device. Never changed once made.

    Attributes:
        pseudo_labels: logit of the student's probability of each pseudo-label, `[N]`.
        known_labels: the same of the true labels of V, which it is never taught, `[M]`.
        probabilities: of each row of U at temperature 1, `[N, C]`.
        trust: in the teacher, as the scout found it before anybody learned a pseudo-label: the logits that a row's
            belief is raised by since the teacher is surer of it than of others, `[N]`. None where no scout judged.
    """

    pseudo_labels: Tensor
    known_labels: Tensor
    probabilities: Tensor
    trust: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}

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
    return Beliefs(said, _of_known_labels(student, rows), probabilities, _trust(student, rows, said))


def beliefs_while_learning(record: BeliefRecord, student: Student, rows: ArmRows) -> Beliefs:
    """As a round met the rows of U, before it learned from them; of V after the round."""
    return Beliefs(record.label_logits(), _of_known_labels(student, rows), record.probabilities())


def smoothed(previous: Beliefs | None, new: Beliefs, smoothing: float, workspace: Workspace | None = None) -> Beliefs:
    """Moving average: b <- e b + (1 - e) b_new; the first have nothing to be smoothed with."""
    if previous is None:
        return new
    room = Workspace(new.probabilities.device) if workspace is None else workspace
    before, now = vars(previous), vars(new)
    mixed = {name: _mixed(before[name], now[name], smoothing, room) for name in now if name != "trust"}
    return Beliefs(**mixed, trust=previous.trust)


def _mixed(before: Tensor, now: Tensor, smoothing: float, workspace: Workspace) -> Tensor:
    found = workspace.empty(tuple(now.shape), now.dtype)
    for rows in workspace.slabs(len(now), 4 * now[:1].nbytes):
        found[rows] = smoothing * before[rows] + (1.0 - smoothing) * now[rows]
    return found


def _trust(scout: Student, rows: ArmRows, said: Tensor) -> Tensor:
    """By a scout that says `said` of the pseudo-labels, `[N]`."""
    workspace, n_rows = rows.workspace, len(rows.ids)
    found = workspace.empty((n_rows,))
    for some in workspace.slabs(n_rows, 4 * rows.teacher_log_targets[:1].nbytes):
        found[some] = label_logits(rows.teacher_log_targets[some] * rows.temperature, rows.pseudo_label_codes[some])
    ranked = ranked_rows(n_rows)
    sureness = sureness_of(_as_array(workspace.take(found, ranked)))
    slope = trust_slope(_log_ratio(scout, rows, workspace.take(said, ranked)), sureness)
    least = least_sureness(sureness)
    for some in workspace.slabs(n_rows, 4 * 8):
        found[some] = torch.from_numpy(slope * (sureness_of(_as_array(found[some])) - least)).to(found)
    return found


def _log_ratio(scout: Student, rows: ArmRows, said: Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        logits = logits_of(scout, rows.validation.features, rows.workspace)
    labels = torch.arange(logits.shape[1], device=logits.device)
    of_every_class = torch.stack([label_logits(logits, label.expand(len(logits))) for label in labels], dim=1)
    return log_likelihood_ratio(_as_array(said), _as_array(of_every_class), rows.validation.labels.cpu().numpy())


def _as_array(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _of_known_labels(student: Student, rows: ArmRows) -> Tensor:
    student.eval()
    with torch.no_grad():
        return label_logits(logits_of(student, rows.validation.features, rows.workspace), rows.validation.labels)
