"""The rows of a job on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.datasets import DistillationData, Rows, Strings
from kdaif.distillation import LabeledRows, soft_log_targets
from kdaif.errors import InvalidDataError
from kdaif.records.spec import Training
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif.workspace import Workspace


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
        temperature: T.
        pseudo_labels: argmax of the teacher, int64 `[N]`.
        pseudo_label_codes: the same on the device.
        wrong: bool `[N]`, the pseudo-label is not the truth; None where no truth is known.
        truth_known: bool `[N]`.
        ids: `[N]`.
        weight_override: float64 `[N]`, NaN where a person gave the row no weight; None where no row has one.
        workspace: where these are, and what is made of them.
    """

    labeled: LabeledRows
    validation: HeldOut
    features: Tensor
    teacher_log_targets: Tensor
    temperature: float
    pseudo_labels: NDArray[np.int64]
    pseudo_label_codes: Tensor
    wrong: NDArray[np.bool_] | None
    truth_known: NDArray[np.bool_]
    ids: NDArray[Any] | Strings
    weight_override: NDArray[np.float64] | None
    workspace: Workspace


def arm_rows(
    data: DistillationData,
    targets: SoftTargets,
    training: Training,
    device: torch.device,
    scratch: Scratch | None = None,
) -> ArmRows:
    """Moves the rows, and what is made of them into scratch where it is large.

    Raises:
        InvalidDataError: L, U or V has no row.
    """
    parts = {"labelled": data.labeled, "unlabelled": data.unlabeled, "validation": data.validation}
    for name, part in parts.items():
        if len(part) == 0:
            raise InvalidDataError(f"There is no {name} row left to train with. Add rows, or change spec.splits.")
    workspace = Workspace(device, scratch)
    pseudo_labels = targets.pseudo_labels(workspace.scratch)
    wrong, known = _known_wrong(pseudo_labels, data.unlabeled.truth, workspace.scratch)
    return ArmRows(
        labeled=LabeledRows(
            workspace.moved(data.labeled.features), workspace.moved(data.labeled.labels), data.labeled.ids
        ),
        validation=held_out_rows(data.validation, workspace),
        features=workspace.moved(data.unlabeled.features),
        teacher_log_targets=_log_targets(targets, training, workspace),
        temperature=training.temperature,
        pseudo_labels=pseudo_labels,
        pseudo_label_codes=workspace.moved(pseudo_labels),
        wrong=wrong,
        truth_known=known,
        ids=data.unlabeled.ids,
        weight_override=data.unlabeled.weight_override,
        workspace=workspace,
    )


def _known_wrong(
    pseudo_labels: NDArray[np.int64], truth: NDArray[np.int64] | None, scratch: Scratch
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
    """`ArmRows.wrong` and `ArmRows.truth_known`."""
    known, wrong = (np.zeros(len(pseudo_labels), dtype=np.bool_) for _ in range(2))
    if truth is not None:
        for rows in scratch.slabs(len(truth), 2 * truth.itemsize + 2):
            known[rows] = truth[rows] >= 0
            wrong[rows] = known[rows] & (pseudo_labels[rows] != truth[rows])
    return (wrong if known.any() else None), known


def _log_targets(targets: SoftTargets, training: Training, workspace: Workspace) -> Tensor:
    """Log q^T `[N, C]` on the device."""
    n_rows, n_classes = targets.logits.shape
    found = workspace.empty((n_rows, n_classes))
    for rows in workspace.slabs(n_rows, 6 * 4 * n_classes):
        logits = torch.from_numpy(targets.logits[rows])
        found[rows] = soft_log_targets(logits, training).to(workspace.device)
    return found


def held_out_rows(part: Rows, workspace: Workspace) -> HeldOut:
    """V, or G, on the device."""
    return HeldOut(workspace.moved(part.features), workspace.moved(part.labels))
