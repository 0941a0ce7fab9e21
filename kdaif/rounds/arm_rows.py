"""The rows of a job on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import DistillationData, Rows
from kdaif.distillation import LabeledRows, soft_log_targets
from kdaif.errors import InvalidDataError
from kdaif.records.spec import Training
from kdaif.teachers import SoftTargets


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows with human labels that are not trained on: raw `features` `[M, ...]`, `labels` int64 `[M]`."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class ArmRows:
    """L, U and V on the device.

    Attributes:
        labeled: L.
        validation: V, the score set.
        features: raw rows of U, `[N, ...]`.
        teacher_log_targets: log q^T, float32 `[N, C]`.
        pseudo_labels: argmax of the teacher, int64 `[N]`.
        pseudo_label_codes: the same on the device.
        wrong: bool `[N]`, the pseudo-label is not the truth; None where no truth is known.
        truth_known: bool `[N]`.
        ids: `[N]`.
        weight_override: float64 `[N]`, NaN where a person gave the row no weight; None where no row has one.
    """

    labeled: LabeledRows
    validation: HeldOut
    features: Tensor
    teacher_log_targets: Tensor
    pseudo_labels: NDArray[np.int64]
    pseudo_label_codes: Tensor
    wrong: NDArray[np.bool_] | None
    truth_known: NDArray[np.bool_]
    ids: NDArray[Any]
    weight_override: NDArray[np.float64] | None


def arm_rows(data: DistillationData, targets: SoftTargets, training: Training, device: torch.device) -> ArmRows:
    """Moves the rows.

    Raises:
        InvalidDataError: L, U or V has no row.
    """
    parts = {"labelled": data.labeled, "unlabelled": data.unlabeled, "validation": data.validation}
    for name, part in parts.items():
        if len(part) == 0:
            raise InvalidDataError(f"There is no {name} row left to train with. Add rows, or change spec.splits.")
    pseudo_labels = targets.logits.argmax(axis=1).astype(np.int64)
    truth = data.unlabeled.truth
    known = np.zeros(len(pseudo_labels), dtype=np.bool_) if truth is None else truth >= 0
    return ArmRows(
        labeled=LabeledRows(
            torch.from_numpy(data.labeled.features).to(device),
            torch.from_numpy(data.labeled.labels).to(device),
            data.labeled.ids,
        ),
        validation=_held_out(data.validation, device),
        features=torch.from_numpy(data.unlabeled.features).to(device),
        teacher_log_targets=soft_log_targets(torch.from_numpy(targets.logits), training).to(device),
        pseudo_labels=pseudo_labels,
        pseudo_label_codes=torch.from_numpy(pseudo_labels).to(device),
        wrong=None if truth is None or not known.any() else known & (pseudo_labels != truth),
        truth_known=known,
        ids=data.unlabeled.ids,
        weight_override=data.unlabeled.weight_override,
    )


def _held_out(part: Rows, device: torch.device) -> HeldOut:
    return HeldOut(torch.from_numpy(part.features).to(device), torch.from_numpy(part.labels).to(device))
