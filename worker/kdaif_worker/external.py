"""What stands outside the method: the comparison on the external rows, and how far the parts of the data lie apart."""

from __future__ import annotations

from kdaif.datasets import DistillationData
from kdaif.evaluation import Sample, compare_arms, distribution_shifts
from kdaif.records import ArmResult, Shift
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif_worker.checkpoint import Checkpoint


def external_results(
    point: Checkpoint, data: DistillationData, targets: SoftTargets, seed: int
) -> tuple[ArmResult, ...]:
    """Every arm on the external rows, as on the test rows; nothing where the job gives none."""
    if data.external is None:
        return ()
    by_arm = {
        arm: [
            done.external_logits
            for (name, _), done in point.finished.items()
            if name == arm and done.external_logits is not None
        ]
        for arm in dict.fromkeys(arm for arm, _ in point.finished)
    }
    teacher = [] if targets.external_logits is None else [targets.external_logits]
    return compare_arms(data.external.labels, {**by_arm, "teacher": teacher}, data.class_names, seed=seed)


def shifts(data: DistillationData, targets: SoftTargets, scratch: Scratch) -> tuple[Shift, ...]:
    """Between the labelled, unlabelled, validation and external rows; the unlabelled have their pseudo-labels."""
    parts = {
        "labelled": Sample(data.labeled.features, data.labeled.labels),
        "unlabelled": Sample(data.unlabeled.features, targets.pseudo_labels(scratch)),
        "validation": Sample(data.validation.features, data.validation.labels),
    }
    if data.external is not None:
        parts["external"] = Sample(data.external.features, data.external.labels)
    return distribution_shifts(parts, len(data.class_names), scratch)
