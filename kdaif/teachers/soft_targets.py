"""Soft targets for the unlabelled rows."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdaif.datasets import DistillationData
from kdaif.errors import InvalidDataError, NonFiniteError
from kdaif.records.spec import DistillationSpec
from kdaif.records.teachers import ColumnTeacher
from kdaif.students import Student
from kdaif.teachers.planted_noise import plant_noise
from kdaif.teachers.trained import train_teacher


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """What the teacher said, at temperature 1; the loss applies the temperature.

    Attributes:
        logits: float32 `[N_u, C]`, in the order of `class_names`.
        test_logits: float32 `[N_test, C]`; None where the teacher cannot be run.
        planted: bool `[N_u]`, rows corrupted on purpose; None when none were.
        network: the teacher in eval mode on the CPU; None where none was trained.
        external_logits: float32 `[N_external, C]`; None where there are no external rows or the teacher cannot be run.
    """

    logits: NDArray[np.float32]
    test_logits: NDArray[np.float32] | None
    planted: NDArray[np.bool_] | None
    network: Student | None
    external_logits: NDArray[np.float32] | None = None


def soft_targets(spec: DistillationSpec, data: DistillationData, device: torch.device) -> SoftTargets:
    """Trains the teacher on L, or reads the column that came with U; then plants the noise of a rehearsal.

    Raises:
        NonFiniteError: a soft target is NaN or infinite.
        InvalidDataError: the job's teacher is a column, and the rows hold none.
        InvalidInputError: the teacher's architecture does not fit the data.
    """
    test_logits: NDArray[np.float32] | None = None
    external_logits: NDArray[np.float32] | None = None
    network: Student | None = None
    if isinstance(spec.teacher.source, ColumnTeacher):
        if data.unlabeled.teacher_logits is None:
            raise InvalidDataError("spec.teacher.source is a column, but the unlabelled rows hold no teacher logits")
        logits = data.unlabeled.teacher_logits.astype(np.float32)
    else:
        teacher = train_teacher(spec.teacher.source, spec.training, data, device)
        logits = teacher.logits(data.unlabeled.features)
        test_logits = teacher.logits(data.test.features)
        external_logits = None if data.external is None else teacher.logits(data.external.features)
        network = copy.deepcopy(teacher.network).to("cpu")
    _check_finite(logits, data.unlabeled.ids)
    planted: NDArray[np.bool_] | None = None
    if spec.teacher.planted_noise is not None:
        logits, planted = plant_noise(logits, spec.teacher.planted_noise, spec.training.seed)
    return SoftTargets(logits, test_logits, planted, network, external_logits)


def _check_finite(logits: NDArray[np.float32], ids: NDArray[Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        named = ", ".join(str(ids[row]) for row in bad[:10])
        raise NonFiniteError(
            f"The teacher's soft targets are NaN or infinite at {len(bad)} of {len(logits)} rows (ids {named}). "
            "Drop or recompute these rows."
        )
