"""Linear datamodeling score (Park et al. 2023): do summed influences rank the losses of true retraining?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from benchmarks.quality.conditions import CONDITIONS, corrupted_targets, default_spec
from benchmarks.quality.loop import held_out
from benchmarks.quality.sets.pictures import digits
from kdaif.datasets import DistillationData
from kdaif.distillation import SoftRows, round_schedule, train_steps
from kdaif.influence import curvature_at, influence_scores
from kdaif.records.architectures import Mlp
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.arm_rows import ArmRows, arm_rows
from kdaif.students import Student, build_student

_SUBSETS, _TARGETS, _EPOCHS = 60, 10, 15


def linear_datamodeling_scores() -> dict[str, float]:
    """Spearman correlation over 60 random halves of U between summed influence and the loss after retraining on them.

    The product's own steps and optimiser on digits with a fifth of the targets swapped, one hidden layer of 32; the
    mean over ten targets, each the loss of a tenth of the held-out rows.

    Returns:
        ``audit``: conjugate gradient on all rows, 20 steps; ``default``: the weighting's own cheap settings.
    """
    retraining = _retraining()
    n, options = len(retraining.rows.ids), retraining.spec.weighting
    subsets = [np.random.default_rng((7, at)).permutation(n)[: n // 2] for at in range(_SUBSETS)]
    truth = np.array([retraining.losses(retraining.student(subset)) for subset in subsets])
    whole = retraining.student(np.arange(n))
    influences = {
        "audit": retraining.influences(whole, n, 20, None),
        "default": retraining.influences(whole, options.curvature_rows, options.cg_steps, options.damping),
    }
    return {
        name: float(
            np.mean(
                [
                    spearmanr([of_target[subset].sum() for subset in subsets], truth[:, target]).statistic
                    for target, of_target in enumerate(per_target)
                ]
            )
        )
        for name, per_target in influences.items()
    }


@dataclass(frozen=True, eq=False)
class _Retraining:
    data: DistillationData
    spec: DistillationSpec
    rows: ArmRows
    held_out: Tensor
    labels: Tensor
    targets: list[NDArray[np.int64]]

    def student(self, subset: NDArray[np.int64]) -> Student:
        """Trained on L and these rows of U."""
        training = self.spec.training
        n_classes = len(self.data.class_names)
        student = build_student(self.spec.student, self.data.signature, n_classes, self.data.unlabeled.features, 0)
        optimizer = torch.optim.AdamW(
            student.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        n_labeled, size = len(self.rows.labeled.ids), training.batch_size
        schedule = round_schedule(n_labeled, len(subset), batch_size=size, epochs=_EPOCHS, seed=0, round_number=1)
        steps = [replace(step, unlabeled=subset[step.unlabeled]) for step in schedule]
        soft = SoftRows(
            self.rows.features, self.rows.teacher_log_targets, torch.ones(len(self.rows.ids)), self.rows.ids
        )
        train_steps(student, optimizer, self.rows.labeled, soft, steps, training)
        return student.eval()

    def losses(self, student: Student) -> list[float]:
        """Of each target."""
        with torch.no_grad():
            losses = functional.cross_entropy(student(self.held_out), self.labels, reduction="none")
        return [float(losses[target].mean()) for target in self.targets]

    def influences(
        self, student: Student, curvature_rows: int, steps: int, damping: float | None
    ) -> list[NDArray[np.float64]]:
        """Of every row of U on each target, `[N]`."""
        rows = self.rows
        curvature = curvature_at(
            student,
            rows.labeled.features,
            rows.features,
            torch.ones(len(rows.ids)),
            training=self.spec.training,
            rows=curvature_rows,
            seed=0,
        )
        return [
            influence_scores(
                student,
                curvature,
                rows.features,
                rows.teacher_log_targets,
                self.held_out[target],
                self.labels[target],
                temperature=self.spec.training.temperature,
                blocks=2,
                steps=steps,
                damping=damping,
            ).influence
            for target in self.targets
        ]


def _retraining() -> _Retraining:
    data = digits(0)
    spec = default_spec(data, 0).model_copy(update={"student": Mlp(hidden_sizes=(32,))})
    targets = corrupted_targets(spec, data, CONDITIONS["class-swap .2"])
    rows = arm_rows(data, targets, spec.training, torch.device("cpu"))
    judged = held_out(data)
    order = np.random.default_rng(0).permutation(len(judged.labels))
    return _Retraining(
        data=data,
        spec=spec,
        rows=rows,
        held_out=judged.features,
        labels=judged.labels,
        targets=np.array_split(order, _TARGETS),
    )
