"""Cross-fitting, for jobs with few labels: every label judges pseudo-labels, and every label trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import LabeledRows
from kdaif.errors import InvalidDataError
from kdaif.influence import InfluenceScores, pooled_scores
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.arm_rows import ArmRows, HeldOut
from kdaif.rounds.beliefs import Beliefs, present_beliefs
from kdaif.rounds.reweighting import PoolScoring, Weighting, score_rows
from kdaif.students import Student
from kdaif.top_rows import RowNumbers, TopRows
from kdaif.workspace import Workspace

Numbers = TypeVar("Numbers", bound=RowNumbers)


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """What the scouts of all folds say together.

    Attributes:
        scores: influence on each fold, by the scout that has not seen it.
        beliefs: means over the scouts; of the known labels, that of the one scout that was not taught them.
        held_out: the labelled rows, fold by fold, in the order of ``beliefs.known_labels``.
    """

    scores: InfluenceScores
    beliefs: Beliefs
    held_out: HeldOut


def with_every_label(rows: ArmRows, gate: HeldOut) -> ArmRows:
    """L and V together as L, and the gate rows, which no weight sees, to measure on.

    Raises:
        InvalidDataError: there is no gate row.
    """
    if len(gate.labels) == 0:
        raise InvalidDataError(
            "spec.weighting.cross_fit_folds trains on every validation row that scores, and no gate row is left to "
            "measure on. Give more validation rows, or a larger spec.splits.gate_share."
        )
    held_out, labeled = rows.validation, rows.labeled
    # Only as many ids as there are labels: they are for messages.
    known = [labeled.ids[place] for place in range(len(labeled.ids))]
    ids = np.array([*known, *(f"validation row {place}" for place in range(len(held_out.labels)))], dtype=object)
    everything = LabeledRows(
        torch.cat([labeled.features, held_out.features]), torch.cat([labeled.labels, held_out.labels]), ids
    )
    return replace(rows, labeled=everything, validation=gate)


def cross_fit(
    rows: ArmRows,
    current: Weighting,
    spec: DistillationSpec,
    seed: int,
    train_scout: Callable[[ArmRows], Student],
    scoring: PoolScoring | None = None,
) -> CrossFitted:
    """Trains a scout on all folds but one, lets that one judge U, and pools what all of them say.

    Args:
        rows: with every label in ``labeled``.
        current: weights of the curvature.
        spec: ``weighting.cross_fit_folds`` and ``blocks``, which the folds share.
        seed: of the folds.
        train_scout: from rows whose ``labeled`` it may learn from.
        scoring: of U, once the solves are done; None does it here.
    """
    folds = _folds(len(rows.labeled.labels), spec.weighting.cross_fit_folds, seed)
    blocks = max(2, spec.weighting.blocks // len(folds))
    narrow = spec.model_copy(update={"weighting": spec.weighting.model_copy(update={"blocks": blocks})})
    scores, beliefs = [], []
    for fold in folds:
        others = np.setdiff1d(np.arange(len(rows.labeled.labels)), fold)
        of_fold = replace(rows, labeled=_some(rows.labeled, others), validation=_held_out(rows.labeled, fold))
        scout = train_scout(of_fold).eval()
        scores.append(score_rows(scout, of_fold, current, narrow, seed, scoring))
        beliefs.append(present_beliefs(scout, of_fold))
    return CrossFitted(
        pooled_scores(scores, [len(fold) for fold in folds], rows.workspace),
        _pooled(beliefs, rows.workspace),
        _held_out(rows.labeled, np.concatenate(folds)),
    )


def _folds(n_rows: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    order = np.random.default_rng((seed, 13)).permutation(n_rows)
    return [np.sort(fold) for fold in np.array_split(order, min(folds, n_rows))]


def _some(labeled: LabeledRows, rows: NDArray[np.int64]) -> LabeledRows:
    return LabeledRows(labeled.features[rows], labeled.labels[rows], np.asarray(labeled.ids, dtype=object)[rows])


def _held_out(labeled: LabeledRows, rows: NDArray[np.int64]) -> HeldOut:
    return HeldOut(labeled.features[rows], labeled.labels[rows])


def _pooled(beliefs: Sequence[Beliefs], workspace: Workspace) -> Beliefs:
    def mean(of: Callable[[Beliefs], Numbers]) -> Numbers:
        first = of(beliefs[0])
        found = first.like(workspace) if isinstance(first, TopRows) else workspace.zeros(tuple(first.shape))
        for rows in workspace.slabs(len(found), (1 + len(beliefs)) * found[:1].nbytes):
            total = torch.zeros_like(first[rows])
            for one in beliefs:
                total += of(one)[rows] / len(beliefs)
            found[rows] = total
        return cast(Numbers, found)

    return Beliefs(
        mean(lambda one: one.pseudo_labels),
        torch.cat([one.known_labels for one in beliefs]),
        mean(lambda one: one.probabilities),
        mean(_trust_of),
        torch.stack([one.trust_line for one in beliefs if one.trust_line is not None]).mean(dim=0),
    )


def _trust_of(beliefs: Beliefs) -> Tensor:
    """Of a scout, which always has it."""
    return torch.zeros_like(beliefs.pseudo_labels) if beliefs.trust is None else beliefs.trust
