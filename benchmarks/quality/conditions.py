"""What is done to the teacher's soft targets: nothing, or a planted corruption of a share of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.records.architectures import Mlp
from kdaif.records.spec import DistillationSpec, Training
from kdaif.records.teachers import ColumnTeacher, PlantedNoise, Teacher, TrainedTeacher
from kdaif.teachers import SoftTargets, soft_targets

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Condition:
    """A corruption and its share; None is the teacher's own errors."""

    corruption: Literal["symmetric", "class_swap", "instance"] | None = None
    share: float = 0.0


OWN = "own"
CONDITIONS: Mapping[str, Condition] = {
    OWN: Condition(),
    "symmetric .2": Condition("symmetric", 0.2),
    "symmetric .4": Condition("symmetric", 0.4),
    "class-swap .2": Condition("class_swap", 0.2),
    "class-swap .4": Condition("class_swap", 0.4),
    "instance .2": Condition("instance", 0.2),
    "instance .4": Condition("instance", 0.4),
}


# Of every data set, pictures too, as the published figures were measured.
_TEACHER = Mlp(hidden_sizes=(256, 128))


def default_spec(data: DistillationData, seed: int) -> DistillationSpec:
    """The product's defaults and its small MLP, whatever the data: nothing is tuned per data set."""
    source: ColumnTeacher | TrainedTeacher = TrainedTeacher(architecture=_TEACHER)
    if data.unlabeled.teacher_logits is not None:
        source = ColumnTeacher(outputs="probabilities", class_names=data.class_names)
    return DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        teacher=Teacher(source=source),
        student=Mlp(),
        training=Training(seed=seed),
        device="cpu",
    )


def corrupted_targets(spec: DistillationSpec, data: DistillationData, condition: Condition) -> SoftTargets:
    """The teacher's word on U, corrupted as the condition says."""
    if condition.corruption is None:
        return soft_targets(spec, data, _CPU)
    if condition.corruption == "instance":
        clean = soft_targets(spec, data, _CPU)
        logits, planted = plant_instance_noise(
            clean.logits[:], data.unlabeled.features, condition.share, spec.training.seed
        )
        return replace(clean, logits=logits, planted=planted)
    noise = PlantedNoise(kind=condition.corruption, share=condition.share)
    noisy = spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"planted_noise": noise})})
    return soft_targets(noisy, data, _CPU)


def plant_instance_noise(
    logits: NDArray[np.float32], features: NDArray[np.generic], share: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Corruption that depends on what the row looks like (after Xia et al. 2020).

    A random projection of a row's features says how strongly each other class pulls at it. The rows pulled hardest,
    with some chance, are corrupted, and given the class that pulls hardest: rows that look alike are confused alike.

    Args:
        logits: float32 `[N, C]`.
        features: raw rows.
        share: of the rows, rounded to whole rows.
        seed: of the projection and the chance.
    """
    n_rows, n_classes = logits.shape
    generator = np.random.default_rng((seed, 13))
    flat = features.reshape(n_rows, -1).astype(np.float64)
    flat = (flat - flat.mean(0)) / np.maximum(flat.std(0), 1e-6)
    winner = logits.argmax(axis=1)
    projections = generator.normal(size=(n_classes, flat.shape[1], n_classes)) / np.sqrt(flat.shape[1])
    pull = np.stack([row @ projections[code] for row, code in zip(flat, winner, strict=True)])
    pull[np.arange(n_rows), winner] = -np.inf
    pull += generator.gumbel(scale=0.5, size=pull.shape)
    rows = np.argsort(-pull.max(axis=1))[: round(share * n_rows)]
    other = pull.argmax(axis=1)[rows]
    swapped = logits.copy()
    swapped[rows, winner[rows]], swapped[rows, other] = logits[rows, other], logits[rows, winner[rows]]
    planted = np.zeros(n_rows, dtype=np.bool_)
    planted[rows] = True
    return swapped, planted
