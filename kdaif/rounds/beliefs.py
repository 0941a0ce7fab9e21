"""What the student thinks of the labels that it is shown, remembered over rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import MOST_SURE, BeliefRecord, label_logits
from kdaif.influence import ranked_rows
from kdaif.rounds.arm_rows import ArmRows
from kdaif.students import Student
from kdaif.top_classes import MOST_WHOLE_CLASSES
from kdaif.top_rows import RowNumbers, TopRows, empty_rows
from kdaif.weighting import least_sureness, log_likelihood_ratio, sureness_of, trust_slope
from kdaif.workspace import Workspace

_ROWS_PER_PASS = 4096
_OF_SCOUT = ("trust", "trust_line")
_ROWS_PER_SPLIT = 256  # of very many classes, in float64


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Of one round, or smoothed over several; float32 on the device. Never changed once made.

    Attributes:
        pseudo_labels: logit of the student's probability of each pseudo-label, `[N]`.
        known_labels: the same of the true labels of V, which it is never taught, `[M]`.
        probabilities: of each row of U at temperature 1, `[N, C]`, kept as the targets are.
        trust: in the teacher, as the scout found it before anybody learned a pseudo-label: the logits that a row's
            belief is raised by since the teacher is surer of it than of others, `[N]`. None where no scout judged.
        trust_line: what that is made of, `[2]`: the slope, 0..1, of the teacher's own logit, and the logit at which
            trust begins.
    """

    pseudo_labels: Tensor
    known_labels: Tensor
    probabilities: RowNumbers
    trust: Tensor | None = None
    trust_line: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """By name."""
        found: dict[str, Tensor] = {}
        for name, given in vars(self).items():
            if isinstance(given, TopRows):
                found |= given.tensors(name)
            elif given is not None:
                found[name] = given
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], workspace: Workspace) -> Beliefs:
        """Back from `tensors`."""
        moved = {name: workspace.moved(tensor.numpy()) for name, tensor in tensors.items() if "." not in name}
        top = TopRows.from_tensors(tensors, "probabilities", "probabilities", workspace)
        said = moved["probabilities"] if top is None else top
        return cls(moved["pseudo_labels"], moved["known_labels"], said, moved.get("trust"), moved.get("trust_line"))


def logits_of(student: Student, features: Tensor, workspace: Workspace) -> Tensor:
    """Float32 `[N, C]` of raw rows, some at a time: what a network makes of a row can be a hundred times as large."""
    found = [student(features[rows]).float() for rows in workspace.passes(len(features), _ROWS_PER_PASS)]
    return torch.cat(found)


def present_beliefs(student: Student, rows: ArmRows) -> Beliefs:
    """Of the student as it is, which is honest of one that was never taught the pseudo-labels."""
    student.eval()
    workspace = rows.workspace
    said = workspace.empty((len(rows.ids),))
    probabilities = empty_rows(len(rows.ids), rows.teacher_log_targets, "probabilities", workspace)
    with torch.no_grad():
        for some in workspace.passes(len(rows.ids), _ROWS_PER_PASS):
            logits = student(rows.features[some]).float()
            said[some] = label_logits(logits, rows.pseudo_label_codes[some])
            probabilities[some] = torch.softmax(logits, dim=1)
    return Beliefs(said, _of_known_labels(student, rows), probabilities, *_trust(student, rows, said))


def beliefs_while_learning(record: BeliefRecord, student: Student, rows: ArmRows) -> Beliefs:
    """As a round met the rows of U, before it learned from them; of V after the round."""
    return Beliefs(record.label_logits(), _of_known_labels(student, rows), record.probabilities())


def smoothed(previous: Beliefs | None, new: Beliefs, smoothing: float, workspace: Workspace | None = None) -> Beliefs:
    """Moving average: b <- e b + (1 - e) b_new; the first have nothing to be smoothed with."""
    if previous is None:
        return new
    room = Workspace(new.probabilities.device) if workspace is None else workspace
    before, now = vars(previous), vars(new)
    mixed: dict[str, Any] = {
        name: _mixed(before[name], now[name], smoothing, room) for name in now if name not in _OF_SCOUT
    }
    return Beliefs(**mixed, **{name: before[name] for name in _OF_SCOUT})


def _mixed(before: RowNumbers, now: RowNumbers, smoothing: float, workspace: Workspace) -> RowNumbers:
    found = now.like(workspace) if isinstance(now, TopRows) else workspace.empty(tuple(now.shape), now.dtype)
    for rows in workspace.slabs(len(now), 4 * now[:1].nbytes):
        found[rows] = smoothing * before[rows] + (1.0 - smoothing) * now[rows]
    return found


def _trust(scout: Student, rows: ArmRows, said: Tensor) -> tuple[Tensor, Tensor]:
    """`Beliefs.trust` and `Beliefs.trust_line`, by a scout that says `said` of the pseudo-labels, `[N]`."""
    workspace, n_rows = rows.workspace, len(rows.ids)
    found = workspace.empty((n_rows,))
    for some in workspace.slabs(n_rows, 4 * rows.teacher_log_targets[:1].nbytes):
        if rows.teacher_label_logits is not None:
            found[some] = rows.teacher_label_logits[some]
            continue
        found[some] = label_logits(rows.teacher_log_targets[some] * rows.temperature, rows.pseudo_label_codes[some])
    ranked = ranked_rows(n_rows)
    sureness = sureness_of(_as_array(workspace.take(found, ranked)))
    slope = trust_slope(_log_ratio(scout, rows, workspace.take(said, ranked)), sureness)
    least = least_sureness(sureness)
    for some in workspace.slabs(n_rows, 4 * 8):
        found[some] = torch.from_numpy(slope * (sureness_of(_as_array(found[some])) - least)).to(found)
    return found, torch.tensor([slope, least])


def _log_ratio(scout: Student, rows: ArmRows, said: Tensor) -> NDArray[np.float64]:
    with torch.no_grad():
        logits = logits_of(scout, rows.validation.features, rows.workspace)
    if logits.shape[1] > MOST_WHOLE_CLASSES:
        known = rows.validation.labels
        some = _of_some_classes(logits, known)
        first = np.zeros(len(known), dtype=np.int64)
        return log_likelihood_ratio(_as_array(said), some, known.cpu().numpy(), first)
    labels = torch.arange(logits.shape[1], device=logits.device)
    of_every_class = torch.stack([label_logits(logits, label.expand(len(logits))) for label in labels], dim=1)
    return log_likelihood_ratio(_as_array(said), _as_array(of_every_class), rows.validation.labels.cpu().numpy())


def _of_some_classes(logits: Tensor, known: Tensor) -> NDArray[np.float64]:
    """`label_logits` of each row's own class and, of the others, of so many as are drawn, `[M, 1 + K]`."""
    n_rows, n_classes = logits.shape
    away = np.random.default_rng((n_classes, 21)).integers(1, n_classes, (n_rows, MOST_WHOLE_CLASSES))
    others = (known[:, None].cpu() + torch.from_numpy(away)) % n_classes
    asked = torch.cat([known[:, None].cpu(), others], dim=1).to(logits.device)
    parts = zip(torch.split(logits, _ROWS_PER_SPLIT), torch.split(asked, _ROWS_PER_SPLIT), strict=True)
    of_asked = torch.cat([torch.log_softmax(some.double(), dim=1).gather(1, classes) for some, classes in parts])
    odds = of_asked - torch.log1p(-of_asked.exp().clamp_max(1 - 1e-12))
    return odds.clamp(-MOST_SURE, MOST_SURE).cpu().numpy()


def _as_array(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()


def _of_known_labels(student: Student, rows: ArmRows) -> Tensor:
    student.eval()
    with torch.no_grad():
        return label_logits(logits_of(student, rows.validation.features, rows.workspace), rows.validation.labels)
