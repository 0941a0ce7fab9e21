"""Scoring and weighing after a round: the student and its rows in, weights and targets for the next round out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.distillation import blended_log_targets, distillation_loss, log_probabilities
from kdaif.influence import curvature_at, influence_scores, per_unit_of_weight, predicted_change
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.arm_rows import ArmRows
from kdaif.students import Student
from kdaif.weighting import (
    Gate,
    agreement_z,
    combine,
    influence_share,
    influence_z,
    kept_share,
    loss_weights,
    smooth,
    trust_region,
)

# The gate's one solve decides for all rows, and an unfinished one understates the gain: a CNN's gate stayed shut at 3.
_GATE_STEPS = 10


@dataclass(frozen=True, eq=False)
class Weighting:
    """What the next round trains with, and what the round after smooths and starts from.

    Attributes:
        weights: mean 1, float64 `[N]`.
        log_targets: float32 `[N, C]` on the device.
        log_odds: smoothed s, float64 `[N]`; None before the first scoring.
        gate_step: the gate's last step, 0 before the first scoring.
        gate_changes: smoothed predicted change of each gate row's loss, float64 `[M]`; None before the first scoring.
        solution: of the influence solves, `[K, P]`; None before the first scoring.
    """

    weights: NDArray[np.float64]
    log_targets: Tensor
    log_odds: NDArray[np.float64] | None = None
    gate_step: float = 0.0
    gate_changes: NDArray[np.float64] | None = None
    solution: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """For the arm's state."""
        arrays = {"weights": self.weights, "log_odds": self.log_odds, "gate_changes": self.gate_changes}
        stored = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
        stored |= {"log_targets": self.log_targets, "gate_step": torch.tensor(self.gate_step, dtype=torch.float64)}
        return stored if self.solution is None else {**stored, "solution": self.solution}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Weighting:
        """Back from the arm's state."""

        def array(name: str) -> NDArray[np.float64] | None:
            return tensors[name].numpy().copy() if name in tensors else None

        return cls(
            weights=tensors["weights"].numpy().copy(),
            log_targets=tensors["log_targets"].to(device),
            log_odds=array("log_odds"),
            gate_step=float(tensors["gate_step"]),
            gate_changes=array("gate_changes"),
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
        log_student: log p, float32 `[N, C]`, temperature 1.
        losses: l_i, unweighted, against the teacher's own targets, float32 `[N]`.
        gate: its decision.
        metrics: diagnostics of the round.
    """

    weighting: Weighting
    influence: NDArray[np.float64]
    stderr: NDArray[np.float64]
    z_influence: NDArray[np.float64]
    z_agreement: NDArray[np.float64]
    log_student: NDArray[np.float32]
    losses: NDArray[np.float32]
    gate: Gate
    metrics: dict[str, float]


def reweigh(student: Student, rows: ArmRows, current: Weighting, spec: DistillationSpec, seed: int) -> Reweighted:
    """Scores every row of U in eval mode and turns the scores into weights and targets.

    Args:
        student: after the round.
        rows: of the job.
        current: what the round trained with.
        spec: the job.
        seed: of the arm.
    """
    options, temperature = spec.weighting, spec.training.temperature
    student.eval()
    curvature = curvature_at(
        student,
        rows.labeled.features,
        rows.features,
        torch.from_numpy(current.weights).to(rows.features.device),
        training=spec.training,
        rows=options.curvature_rows,
        seed=seed,
    )
    scores = influence_scores(
        student,
        curvature,
        rows.features,
        rows.teacher_log_targets,
        rows.validation.features,
        rows.validation.labels,
        temperature=temperature,
        blocks=options.blocks,
        steps=options.cg_steps,
        solver=options.solver,
        damping=options.damping,
        start=current.solution,
        seed=seed,
    )
    logits = torch.from_numpy(scores.logits).to(rows.features.device)
    log_student = log_probabilities(logits)
    losses = distillation_loss(logits, rows.teacher_log_targets, temperature)
    of_pseudo_label = log_student.cpu().numpy()[np.arange(len(rows.ids)), rows.pseudo_labels]
    influence = per_unit_of_weight(scores.influence, current.weights, spec.training.soft_label_weight)
    stderr = scores.stderr * spec.training.soft_label_weight / current.weights.sum()
    z_influence, z_agreement = influence_z(influence), agreement_z(of_pseudo_label)
    share = influence_share(scores.reliability)
    log_odds = smooth(current.log_odds, combine(z_influence, z_agreement, share), options.smoothing)
    kept = kept_share(log_odds, sharpness=options.sharpness, floor=options.floor)
    weights = loss_weights(kept, blended=options.target == "blend")
    log_targets = rows.teacher_log_targets
    if options.target == "blend":
        log_targets = blended_log_targets(
            rows.teacher_log_targets,
            log_probabilities(logits, temperature),
            torch.from_numpy(kept).to(logits),
        )

    gradients = _change_of_objective(logits, rows.teacher_log_targets, log_targets, weights, temperature)
    changes = predicted_change(
        student,
        curvature,
        rows.features,
        spec.training.soft_label_weight * gradients,
        rows.gate.features,
        rows.gate.labels,
        steps=max(options.cg_steps, _GATE_STEPS),
        damping=scores.damping,
    )
    changes = smooth(current.gate_changes, changes, options.smoothing)
    gate = trust_region(weights, changes, was_open=current.gate_step > 0)
    step = torch.tensor(gate.step, device=logits.device)
    weighting = Weighting(
        weights=1.0 - gate.step + gate.step * weights,
        log_targets=blended_log_targets(log_targets, rows.teacher_log_targets, step.expand(len(logits))),
        log_odds=log_odds,
        gate_step=gate.step,
        gate_changes=changes,
        solution=scores.solution,
    )
    metrics = {
        "gate_step": gate.step,
        "gate_gain": gate.gain,
        "gate_stderr": gate.stderr,
        "effective_sample_size": gate.effective_sample_size,
        "reliability": scores.reliability,
        "share_influence": share,
        "residual": scores.residual,
        "damping": scores.damping,
        "solver_steps": float(scores.solver_steps),
        "solves_stopped": float(scores.solves_stopped),
    }
    return Reweighted(
        weighting=weighting,
        influence=influence,
        stderr=stderr,
        z_influence=z_influence,
        z_agreement=z_agreement,
        log_student=log_student.cpu().numpy(),
        losses=losses.cpu().numpy(),
        gate=gate,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
    )


def _change_of_objective(
    logits: Tensor, teacher_log_targets: Tensor, log_targets: Tensor, weights: NDArray[np.float64], temperature: float
) -> Tensor:
    """dD/dz `[N, C]` of D = mean(w l(new targets)) - mean(l(teacher's targets)): the step away from uniform."""
    student = torch.softmax(logits / temperature, dim=1)
    w = torch.from_numpy(weights).to(logits)[:, None]
    change = w * (student - log_targets.exp()) - (student - teacher_log_targets.exp())
    return temperature * change / len(logits)
