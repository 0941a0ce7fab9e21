"""Scoring and weighing before a round: a student and the rows in, the weights and targets of the round out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import blended_log_targets, log_probabilities, soft_log_targets, soft_losses
from kdaif.influence import (
    Along,
    InfluenceScores,
    RowLoss,
    ScoreSheet,
    block_stderr,
    curvature_at,
    influence_scores,
    unit_of_weight,
)
from kdaif.records.spec import DistillationSpec, Training
from kdaif.rounds.arm_rows import ArmRows
from kdaif.rounds.beliefs import Beliefs
from kdaif.students import Student, taught_network
from kdaif.top_classes import at_temperature
from kdaif.top_rows import RowNumbers, TopRows, empty_rows
from kdaif.weighting import (
    Parts,
    agreement_z,
    effective_sample_size,
    influence_z,
    log_odds_of,
    normalise,
    parts_of,
    shares_of_weight,
    with_overrides,
)

_SMALLEST_PROBABILITY = 1e-8

PoolScoring: TypeAlias = Callable[[Student, ArmRows, Along, ScoreSheet], None]
"""Has all rows of U scored along the solutions at a student, by others than this process alone."""


@dataclass(frozen=True, eq=False)
class Weighting:
    """What a round trains with, and what the next scoring starts from. Never changed once made.

    Attributes:
        weights: float64 `[N]`; an overridden row has its override, and the others have mean 1.
        log_targets: float32 `[N, C]` on the device, kept as the teacher's own are.
        solution: of the influence solves, `[K, P]`, where the solver starts from the last one.
    """

    weights: NDArray[np.float64]
    log_targets: RowNumbers
    solution: Tensor | None = None

    def tensors(self, rows: ArmRows) -> dict[str, Tensor]:
        """For the arm's state; the teacher's own targets, which `rows` hold, are left out."""
        stored = {"weights": torch.from_numpy(self.weights)}
        if self.log_targets is not rows.teacher_log_targets:
            own = self.log_targets
            stored |= own.tensors("log_targets") if isinstance(own, TopRows) else {"log_targets": own}
        return stored if self.solution is None else {**stored, "solution": self.solution}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], rows: ArmRows) -> Weighting:
        """Back from the arm's state."""
        whole = {name: tensors[name] for name in ("log_targets", "solution") if name in tensors}
        moved = {name: rows.workspace.moved(tensor.numpy()) for name, tensor in whole.items()}
        top = TopRows.from_tensors(tensors, "log_targets", "logarithms", rows.workspace)
        return cls(
            weights=tensors["weights"].numpy(),
            log_targets=moved.get("log_targets", rows.teacher_log_targets) if top is None else top,
            solution=moved.get("solution"),
        )


@dataclass(frozen=True, eq=False)
class Reweighted:
    """A scoring: the new weighting, its parts per row, and its diagnostics. Large arrays lie in scratch.

    Attributes:
        weighting: for the next round.
        influence: dL_val/dw_i per unit of weight, float64 `[N]`; negative helps.
        stderr: of it, over the blocks of V, float64 `[N]`.
        z_influence: float64 `[N]`.
        z_agreement: float64 `[N]`.
        log_odds: of the row being worth its weight, float64 `[N]`.
        student_labels: the student's most likely class, int32 `[N]`.
        student_confidence: its probability at temperature 1, float32 `[N]`.
        losses: l_i, unweighted, against the teacher's own targets, float32 `[N]`.
        metrics: diagnostics of the round.
    """

    weighting: Weighting
    influence: NDArray[np.float64]
    stderr: NDArray[np.float64]
    z_influence: NDArray[np.float64]
    z_agreement: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    student_labels: NDArray[np.int32]
    student_confidence: NDArray[np.float32]
    losses: NDArray[np.float32]
    metrics: dict[str, float]


def reweigh(
    student: Student,
    rows: ArmRows,
    current: Weighting,
    beliefs: Beliefs,
    spec: DistillationSpec,
    seed: int,
    scores: InfluenceScores | None = None,
    scoring: PoolScoring | None = None,
) -> Reweighted:
    """Scores every row of U in eval mode and turns the scores into weights and targets.

    Args:
        student: whose loss on V is to fall.
        rows: of the job.
        current: what the last round trained with.
        beliefs: of the student, smoothed over rounds.
        spec: the job.
        seed: of the arm.
        scores: where the rows were scored already; the student is not asked then.
        scoring: of the rows, once the solves are done; None does it here.
    """
    options, training, scratch = spec.weighting, spec.training, rows.workspace.scratch
    student.eval()
    scores = score_rows(student, rows, current, spec, seed, scoring) if scores is None else scores
    unit = unit_of_weight(scores.per_block, current.weights, training.soft_label_weight, scratch)
    reliability, blended = scores.reliability, options.target == "blend"
    known_labels, known_classes = _as_array(beliefs.known_labels), rows.validation.labels.cpu().numpy()

    n_rows, n_classes = scores.logits.shape
    influence, stderr, z_influence, z_agreement, log_odds, shares = (
        scratch.empty((n_rows,), np.float64) for _ in range(6)
    )
    student_labels = scratch.empty((n_rows,), np.int32)
    student_confidence, losses = (scratch.empty((n_rows,), np.float32) for _ in range(2))
    log_targets = rows.teacher_log_targets
    if blended:
        log_targets = empty_rows(n_rows, rows.teacher_log_targets, "logarithms", rows.workspace)
    softened_logits = at_temperature(scores.taught_logits)
    kept = 0.0
    for some in scratch.slabs(n_rows, 4 * 8 * len(scores.shares) + 12 * 4 * n_classes + 16 * 8):
        per_block = unit.applied(scores.per_block[:, some])
        influence[some], stderr[some] = scores.shares @ per_block, block_stderr(per_block)
        z_influence[some] = influence_z(influence[some], stderr[some], reliability)
        z_agreement[some] = agreement_z(_as_array(beliefs.pseudo_labels[some]), known_labels, known_classes)
        if beliefs.trust is not None:
            z_agreement[some] += _as_array(beliefs.trust[some])
        parts = _used(parts_of(z_influence[some], z_agreement[some], options.sharpness), options.signals)
        shares[some] = shares_of_weight(parts, floor=options.floor, blended=blended)
        log_odds[some] = log_odds_of(parts.kept)
        kept += float(parts.kept.sum())

        of_teacher = rows.teacher_log_targets[some]
        if blended:
            believed = soft_log_targets(beliefs.probabilities[some].clamp_min(_SMALLEST_PROBABILITY).log(), training)
            of_row = torch.from_numpy(_teacher_shares(parts, rows.weight_override, some)).to(believed)
            log_targets[some] = blended_log_targets(of_teacher, believed, of_row)
        logits = torch.from_numpy(scores.logits[some]).to(of_teacher.device)
        softened = torch.from_numpy(softened_logits[some]).to(of_teacher.device)
        losses[some] = soft_losses(softened, of_teacher, training).cpu().numpy()
        log_student = log_probabilities(logits).cpu().numpy()
        student_labels[some] = log_student.argmax(axis=1)
        student_confidence[some] = np.exp(log_student.max(axis=1))

    weights = with_overrides(normalise(shares, scratch), rows.weight_override, scratch)
    metrics = {
        "kept_share": kept / n_rows,
        "effective_sample_size": effective_sample_size(weights, scratch),
        "reliability": reliability,
        "residual": scores.residual,
        "damping": scores.damping,
        "gradient_norm": scores.gradient_norm,
        "solver_steps": float(scores.solver_steps),
        "solves_stopped": float(scores.solves_stopped),
    }
    if beliefs.trust_line is not None:
        metrics["teacher_trust"] = float(beliefs.trust_line[0])
        if not training.standardise_logits:  # else trust is not in the logits that the confidences are of
            metrics["teacher_least_sureness"] = float(beliefs.trust_line[1])
    return Reweighted(
        weighting=Weighting(weights, log_targets, scores.solution),
        influence=influence,
        stderr=stderr,
        z_influence=z_influence,
        z_agreement=z_agreement,
        log_odds=log_odds,
        student_labels=student_labels,
        student_confidence=student_confidence,
        losses=losses,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
    )


def score_rows(
    student: Student,
    rows: ArmRows,
    current: Weighting,
    spec: DistillationSpec,
    seed: int,
    scoring: PoolScoring | None = None,
) -> InfluenceScores:
    """Influence of every row of U on each block of V, with the job's solver and damping."""
    options, network = spec.weighting, taught_network(student)
    curvature = curvature_at(
        network,
        rows.labeled.features,
        rows.features,
        rows.workspace.moved(current.weights),
        training=spec.training,
        rows=options.curvature_rows,
        seed=seed,
        workspace=rows.workspace,
    )
    return influence_scores(
        network,
        curvature,
        rows.features,
        rows.teacher_log_targets,
        rows.validation.features,
        rows.validation.labels,
        temperature=spec.training.temperature,
        blocks=options.blocks,
        steps=options.cg_steps,
        solver=options.solver,
        damping=options.damping,
        start=current.solution,
        preconditioner_rows=options.preconditioner_rows,
        preconditioner_steps=options.preconditioner_steps,
        seed=seed,
        row_loss=row_loss_of(spec.training),
        workspace=rows.workspace,
        elsewhere=None if scoring is None else partial(scoring, student, rows),
    )


def row_loss_of(training: Training) -> RowLoss | None:
    """None for the default loss, whose gradient has a closed form."""
    if training.loss == "forward_kl" and not training.standardise_logits:
        return None
    return partial(soft_losses, training=training)


def _used(parts: Parts, signals: str) -> Parts:
    """With one of the two signals, the other's factor is 1 for every row."""
    ones = np.ones_like(parts.helps)
    match signals:
        case "influence":
            return Parts(parts.helps, ones)
        case "agreement":
            return Parts(ones, parts.right)
        case _:
            return parts


def _teacher_shares(parts: Parts, overrides: NDArray[np.float64] | None, some: slice) -> NDArray[np.float64]:
    """How much of its own target each of these rows keeps, `[M]`: all of it where a person spoke for the row."""
    if overrides is None:
        return parts.right
    return np.where(np.isnan(overrides[some]), parts.right, 1.0)


def _as_array(logits: Tensor) -> NDArray[np.float64]:
    return logits.double().cpu().numpy()
