"""Scoring and weighing before a round: a student and the rows in, the weights and targets of the round out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import blended_log_targets, log_probabilities, soft_log_targets, soft_losses
from kdaif.influence import InfluenceScores, RowLoss, block_stderr, curvature_at, influence_scores, per_unit_of_weight
from kdaif.records.spec import DistillationSpec, Training
from kdaif.rounds.arm_rows import ArmRows
from kdaif.rounds.beliefs import Beliefs
from kdaif.students import Student
from kdaif.weighting import (
    Parts,
    agreement_z,
    effective_sample_size,
    influence_z,
    log_odds_of,
    loss_weights,
    parts_of,
    with_overrides,
)

_SMALLEST_PROBABILITY = 1e-8


@dataclass(frozen=True, eq=False)
class Weighting:
    """What a round trains with, and what the next scoring starts from.

    Attributes:
        weights: float64 `[N]`; an overridden row has its override, and the others have mean 1.
        log_targets: float32 `[N, C]` on the device.
        solution: of the influence solves, `[K, P]`, where the solver starts from the last one.
    """

    weights: NDArray[np.float64]
    log_targets: Tensor
    solution: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """For the arm's state."""
        stored = {"weights": torch.from_numpy(self.weights), "log_targets": self.log_targets}
        return stored if self.solution is None else {**stored, "solution": self.solution}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Weighting:
        """Back from the arm's state."""
        return cls(
            weights=tensors["weights"].numpy().copy(),
            log_targets=tensors["log_targets"].to(device),
            solution=tensors["solution"].to(device) if "solution" in tensors else None,
        )


@dataclass(frozen=True, eq=False)
class Reweighted:
    """A scoring: the new weighting, its parts per row, and its diagnostics.

    Attributes:
        weighting: for the next round.
        influence: dL_val/dw_i per unit of weight, float64 `[N]`; negative helps.
        stderr: of it, over the blocks of V, float64 `[N]`.
        z_influence: float64 `[N]`.
        z_agreement: float64 `[N]`.
        log_odds: of the row being worth its weight, float64 `[N]`.
        log_student: log p, float32 `[N, C]`, temperature 1.
        losses: l_i, unweighted, against the teacher's own targets, float32 `[N]`.
        metrics: diagnostics of the round.
    """

    weighting: Weighting
    influence: NDArray[np.float64]
    stderr: NDArray[np.float64]
    z_influence: NDArray[np.float64]
    z_agreement: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    log_student: NDArray[np.float32]
    losses: NDArray[np.float32]
    metrics: dict[str, float]


def reweigh(
    student: Student, rows: ArmRows, current: Weighting, beliefs: Beliefs, spec: DistillationSpec, seed: int
) -> Reweighted:
    """Scores every row of U in eval mode and turns the scores into weights and targets.

    Args:
        student: whose loss on V is to fall.
        rows: of the job.
        current: what the last round trained with.
        beliefs: of the student, smoothed over rounds.
        spec: the job.
        seed: of the arm.
    """
    options, training = spec.weighting, spec.training
    student.eval()
    scores = score_rows(student, rows, current, spec, seed)
    per_block = per_unit_of_weight(scores.per_block, current.weights, training.soft_label_weight)
    influence, stderr = scores.shares @ per_block, block_stderr(per_block)
    logits = torch.from_numpy(scores.logits).to(rows.features.device)

    z_influence = influence_z(influence, stderr, scores.reliability)
    z_agreement = agreement_z(
        _as_array(beliefs.pseudo_labels), _as_array(beliefs.known_labels), rows.validation.labels.cpu().numpy()
    )
    parts = _used(parts_of(z_influence, z_agreement, options.sharpness), options.signals)
    blended = options.target == "blend"
    weights = with_overrides(loss_weights(parts, floor=options.floor, blended=blended), rows.weight_override)
    log_targets = rows.teacher_log_targets
    if blended:
        believed = soft_log_targets(beliefs.probabilities.clamp_min(_SMALLEST_PROBABILITY).log(), training)
        log_targets = blended_log_targets(
            log_targets, believed, torch.from_numpy(_teacher_shares(parts, rows)).to(believed)
        )
    metrics = {
        "kept_share": float(parts.kept.mean()),
        "effective_sample_size": effective_sample_size(weights),
        "reliability": scores.reliability,
        "residual": scores.residual,
        "damping": scores.damping,
        "solver_steps": float(scores.solver_steps),
        "solves_stopped": float(scores.solves_stopped),
    }
    return Reweighted(
        weighting=Weighting(weights, log_targets, scores.solution),
        influence=influence,
        stderr=stderr,
        z_influence=z_influence,
        z_agreement=z_agreement,
        log_odds=log_odds_of(parts.kept),
        log_student=log_probabilities(logits).cpu().numpy(),
        losses=soft_losses(logits, rows.teacher_log_targets, training).cpu().numpy(),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
    )


def score_rows(
    student: Student, rows: ArmRows, current: Weighting, spec: DistillationSpec, seed: int
) -> InfluenceScores:
    """Influence of every row of U on each block of V, with the job's solver and damping."""
    options = spec.weighting
    curvature = curvature_at(
        student,
        rows.labeled.features,
        rows.features,
        torch.from_numpy(current.weights).to(rows.features.device),
        training=spec.training,
        rows=options.curvature_rows,
        seed=seed,
    )
    return influence_scores(
        student,
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
        seed=seed,
        row_loss=_row_loss(spec.training),
    )


def _row_loss(training: Training) -> RowLoss | None:
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


def _teacher_shares(parts: Parts, rows: ArmRows) -> NDArray[np.float64]:
    """How much of its own target each row keeps, `[N]`: all of it where a person spoke for the row."""
    if rows.weight_override is None:
        return parts.right
    return np.where(np.isnan(rows.weight_override), parts.right, 1.0)


def _as_array(logits: Tensor) -> NDArray[np.float64]:
    return logits.double().cpu().numpy()
