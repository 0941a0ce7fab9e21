"""Why some rows weigh what they weigh: whom in V they help and harm, and what lies nearest to them in L and U."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import DistillationData
from kdaif.distillation import soft_log_targets
from kdaif.influence import (
    Nearest,
    NearestSearch,
    PairInfluence,
    PairSystem,
    RowLoss,
    curvature_at,
    logit_gradients,
    pair_system,
)
from kdaif.linalg import HeadRows, head_rows
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.new_student import student_of
from kdaif.rounds.reweighting import row_loss_of
from kdaif.rounds.state import ArmState, under
from kdaif.scratch import Scratch
from kdaif.students import Student
from kdaif.teachers import SoftTargets
from kdaif.top_classes import at_temperature, taken
from kdaif.workspace import Workspace

MOST_PAIRS = 10
MOST_NEIGHBOURS = 10
_ROWS_PER_PASS = 512
# Neighbours and the mean gradient of U come first, and leave this much of the time to the pairs.
_SEARCH_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of N asked rows.

    Attributes:
        pairs: of the first rows, as many as there was time for, in runs; none of a student that had two heads.
        nearest: its places count the rows of L first, then those of U.
        damping: of the solve behind the pairs; 0 where there is none.
        seconds: that it took.
    """

    pairs: tuple[PairInfluence, ...]
    nearest: Nearest
    damping: float
    seconds: float


def evidence_of(
    state: ArmState,
    data: DistillationData,
    targets: SoftTargets,
    places: NDArray[np.int64],
    spec: DistillationSpec,
    *,
    device: torch.device,
    budget_s: float,
    scratch: Scratch | None = None,
) -> Evidence:
    """Looks at L, then at runs of U in random order, then at the pairs of the asked rows, until the time is over.

    By the student that came out of the arm, whatever solver scored its rounds: pairs need gradients of single rows,
    which only the last layer gives in closed form. A pair is in the unit of `val_loss_change_if_upweighted`, so the
    mean of a row's pairs over V is that figure for the last layer of this student. Where soft targets had a head of
    their own, a row of U reaches V through the body alone, which has no closed form: it has neighbours, and no pairs.

    Args:
        state: of the arm's end.
        data: of the job.
        targets: of its U.
        places: of the asked rows in U, int64 `[N]`, the most wanted first; at least one.
        spec: the job.
        device: where to compute.
        budget_s: seconds; what cannot be divided, one pass over V and one run of each kind, is done all the same.
        scratch: of the rows.

    Raises:
        ValueError: the network does not end in a Linear layer.
        torch.linalg.LinAlgError: its curvature is not finite.
    """
    started = time.monotonic()
    room = Scratch() if scratch is None else scratch
    rows = _Rows.seen_by(student_of(state, spec, data), data, targets, spec, device, room)
    weights = under(state, "weighting/")["weights"].numpy()
    system = None if spec.training.dual_head else rows.system(weights, int(state.numbers["seed"]))
    asked, asked_gradients = rows.of_unlabeled(places)
    search, mean_gradient = _searched(rows, asked, places, weights, until=started + _SEARCH_SHARE * budget_s)
    if system is None:
        return Evidence((), search, 0.0, time.monotonic() - started)
    total = sum(float(weights[some].sum()) for some in room.slabs(len(weights), weights.itemsize))
    scale = spec.training.soft_label_weight / total if total > 0 else 0.0
    pairs = []
    for some in system.extremes(asked, asked_gradients, system.along(mean_gradient), scale, MOST_PAIRS):
        pairs.append(some)
        if time.monotonic() - started >= budget_s:
            break
    return Evidence(tuple(pairs), search, system.damping, time.monotonic() - started)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a job as its student's last layer is given them; ``model`` is ``student`` on the device."""

    student: Student
    model: Student
    data: DistillationData
    targets: SoftTargets
    spec: DistillationSpec
    device: torch.device
    scratch: Scratch

    @classmethod
    def seen_by(
        cls,
        student: Student,
        data: DistillationData,
        targets: SoftTargets,
        spec: DistillationSpec,
        device: torch.device,
        scratch: Scratch,
    ) -> _Rows:
        return cls(student, copy.deepcopy(student).to(device).eval(), data, targets, spec, device, scratch)

    def of(self, features: NDArray[Any], rows: NDArray[np.int64]) -> HeadRows:
        return head_rows(self.model, torch.from_numpy(self.scratch.take(features, rows)).to(self.device))

    def of_unlabeled(self, rows: NDArray[np.int64]) -> tuple[HeadRows, Tensor]:
        """With dl_i/dz_i, `[M, C]`."""
        training = self.spec.training
        found = self.of(self.data.unlabeled.features, rows)
        teacher = torch.from_numpy(taken(at_temperature(self.targets.logits), rows, self.scratch))
        log_targets = soft_log_targets(teacher, training).to(self.device)
        loss: RowLoss | None = row_loss_of(training)
        return found, logit_gradients(found.logits, log_targets, training.temperature, loss)

    def system(self, weights: NDArray[np.float64], seed: int) -> PairSystem:
        data, weighting = self.data, self.spec.weighting
        room = Workspace(torch.device("cpu"), self.scratch)
        curvature = curvature_at(
            self.student,
            room.moved(data.labeled.features),
            room.moved(data.unlabeled.features),
            room.moved(weights),
            training=self.spec.training,
            rows=weighting.curvature_rows,
            seed=seed,
            workspace=room,
        )
        curvature = replace(
            curvature,
            features=curvature.features.to(self.device),
            row_weights=curvature.row_weights.to(self.device),
            temperatures=curvature.temperatures.to(self.device),
        )
        return pair_system(
            self.model,
            curvature,
            torch.from_numpy(np.array(data.validation.features)).to(self.device),
            torch.from_numpy(np.array(data.validation.labels)).to(self.device),
            damping=weighting.damping if weighting.solver == "head" else None,
        )


def _searched(
    rows: _Rows,
    asked: HeadRows,
    places: NDArray[np.int64],
    weights: NDArray[np.float64],
    until: float,
) -> tuple[Nearest, Tensor]:
    """The nearest rows, and the mean gradient `[C, I]` of U in the last layer, of what there was time for."""
    labeled, unlabeled = rows.data.labeled, rows.data.unlabeled
    own = torch.from_numpy(places + len(labeled)).to(rows.device)
    search = NearestSearch(asked.inputs, own, MOST_NEIGHBOURS)
    shape = (asked.logits.shape[1], asked.inputs.shape[1])
    gradient, weighed = torch.zeros(shape, dtype=torch.float64, device=rows.device), 0.0
    for run in _runs(len(labeled)):
        search.look(rows.of(labeled.features, run).inputs, torch.from_numpy(run).to(rows.device))
        rows.scratch.release()
        if time.monotonic() >= until:
            break
    for run in _runs(len(unlabeled), shuffled=True):
        found, gradients = rows.of_unlabeled(run)
        search.look(found.inputs, torch.from_numpy(run + len(labeled)).to(rows.device))
        of_run = torch.from_numpy(rows.scratch.take(weights, run)).to(rows.device)
        gradient += (of_run[:, None] * gradients.double()).T @ found.inputs.double()
        weighed += float(of_run.sum())
        rows.scratch.release()
        if time.monotonic() >= until:
            break
    return search.found(), gradient / weighed if weighed > 0 else gradient


def _runs(n_rows: int, *, shuffled: bool = False) -> Iterator[NDArray[np.int64]]:
    starts = np.arange(0, n_rows, _ROWS_PER_PASS)
    if shuffled:
        starts = np.random.default_rng((n_rows, 19)).permutation(starts)
    for start in starts.tolist():
        yield np.arange(start, min(start + _ROWS_PER_PASS, n_rows))
