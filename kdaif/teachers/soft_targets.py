"""Soft targets for the unlabelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kdaif.datasets import DistillationData, Strings
from kdaif.errors import InvalidDataError, NonFiniteError
from kdaif.records import Finding
from kdaif.records.spec import DistillationSpec
from kdaif.records.teachers import ColumnTeacher, EnsembleTeacher, OnnxTeacher, TrainedTeacher, TransformerTeacher
from kdaif.scratch import Scratch
from kdaif.students import Student
from kdaif.teachers.agreement import doubts
from kdaif.teachers.ensemble import combined
from kdaif.teachers.onnx_teacher import onnx_outputs
from kdaif.teachers.outputs import TeacherOutputs, whole
from kdaif.teachers.planted_noise import plant_noise
from kdaif.teachers.remembered import Remember, always_make
from kdaif.teachers.trained import trained_outputs
from kdaif.top_classes import Logits, TopClasses, softening

_NAMED_ROWS = 10


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """What the teacher said, at temperature 1; the loss applies the temperature.

    Attributes:
        logits: float32 `[N_u, C]`, in the order of `class_names`; by their largest where there are very many classes.
        test_logits: float32 `[N_test, C]`; None where the teacher cannot be run.
        planted: bool `[N_u]`, rows corrupted on purpose; None when none were.
        network: the teacher in eval mode on the CPU; None where it is not one trained network.
        external_logits: float32 `[N_external, C]`; None where there are no external rows or the teacher cannot be run.
        labeled_logits: float32 `[N_l, C]`, each row of L as heard from a teacher that was trained without it; None
            where the teacher has no folds.
        validation_logits: float32 `[N_v, C]`; None where the teacher cannot be asked about V.
        findings: what should be read before the targets are trusted.
    """

    logits: Logits
    test_logits: NDArray[np.float32] | None
    planted: NDArray[np.bool_] | None
    network: Student | None
    external_logits: NDArray[np.float32] | None = None
    labeled_logits: NDArray[np.float32] | None = None
    validation_logits: NDArray[np.float32] | None = None
    findings: tuple[Finding, ...] = ()

    def pseudo_labels(self, scratch: Scratch | None = None) -> NDArray[np.int64]:
        """The most likely class of each row of U, int64 `[N_u]`, in scratch where that is large."""
        room = Scratch() if scratch is None else scratch
        found: NDArray[np.int64] = room.empty((len(self.logits),), np.int64)
        for rows in room.slabs(len(self.logits), self.logits[:1].nbytes + 8):
            found[rows] = self.logits[rows].argmax(axis=1)
        return found


def soft_targets(
    spec: DistillationSpec,
    data: DistillationData,
    device: torch.device,
    *,
    models: Mapping[str, Path] | None = None,
    remember: Remember = always_make,
    scratch: Scratch | None = None,
) -> SoftTargets:
    """Asks the teacher, or each member of an ensemble; then plants the noise of a rehearsal.

    Args:
        spec: the job.
        data: its rows.
        device: where networks train and encoders run; a model file of the user's own runs on the CPU.
        models: local model file by role of ``spec.dataset_ids()``.
        remember: keeps what model files said about rows.
        scratch: of the rows and of what is said of them; None keeps it in memory.

    Raises:
        NonFiniteError: a soft target is NaN or infinite, or a teacher's loss became so.
        InvalidDataError: the job's teacher is a column, and the rows hold none; or the worker lacks a library that the
            teacher needs.
        InvalidInputError: the teacher does not fit the data, or its model file cannot be used.
        OutOfMemoryError: a model file needs more memory than it may have.
    """
    room = Scratch() if scratch is None else scratch
    outputs = [
        _ask(spec, position, data, device, models or {}, remember, room)
        for position in range(len(spec.teacher.members))
    ]
    said = outputs[0]
    if isinstance(spec.teacher.source, EnsembleTeacher):
        fields = [spec.teacher.member_field(position) for position in range(len(outputs))]
        temperature = softening(spec.training, len(data.class_names))
        said = combined(spec.teacher.source, outputs, data.validation.labels, fields, room, temperature)
    logits = said.unlabeled
    _check_finite(logits, data.unlabeled.ids, room)
    planted: NDArray[np.bool_] | None = None
    if spec.teacher.planted_noise is not None:
        logits, planted = plant_noise(logits, spec.teacher.planted_noise, spec.training.seed, room)
    return SoftTargets(
        logits=logits,
        test_logits=said.test,
        planted=planted,
        network=said.network,
        external_logits=said.external,
        labeled_logits=said.labeled,
        validation_logits=said.validation,
        findings=doubts(spec.teacher, outputs, data),
    )


def _ask(
    spec: DistillationSpec,
    position: int,
    data: DistillationData,
    device: torch.device,
    models: Mapping[str, Path],
    remember: Remember,
    scratch: Scratch,
) -> TeacherOutputs:
    """What one member says."""
    single = not isinstance(spec.teacher.source, EnsembleTeacher)
    role, field = "teacher" if single else f"teacher_{position}", spec.teacher.member_field(position)
    match spec.teacher.members[position]:
        case ColumnTeacher():
            logits = data.unlabeled.teacher_logits if single else data.unlabeled.member_logits.get(position)
            if logits is None:
                raise InvalidDataError(f"{field} is a column, but the unlabelled rows hold no teacher logits")
            judged = data.validation.member_logits.get(position)
            said = _kept(logits, softening(spec.training, len(data.class_names)), scratch)
            return TeacherOutputs(said, None if judged is None else whole(judged))
        case TrainedTeacher() as source:
            return trained_outputs(source, spec.training, data, device, field, scratch)
        case OnnxTeacher() as source:
            temperature = softening(spec.training, len(data.class_names))
            return onnx_outputs(source, data, models[role], field, remember, scratch, temperature)
        case TransformerTeacher() as source:
            seed = spec.training.seed
            # Imported late, for the memory of jobs with another teacher: it brings scikit-learn.
            from kdaif.teachers.transformer_teacher import transformer_outputs

            temperature = softening(spec.training, len(data.class_names))
            return transformer_outputs(source, data, models[role], seed, device, field, remember, scratch, temperature)


def _kept(logits: Logits, temperature: float | None, scratch: Scratch) -> Logits:
    """As the job keeps them, of rows that were not read by `kdaif.datasets` too."""
    if isinstance(logits, TopClasses):
        return logits
    narrow: NDArray[np.float32] = logits.astype(np.float32, copy=False)
    if temperature is None:
        return narrow
    found = TopClasses.empty(len(narrow), narrow.shape[1], temperature, scratch)
    for rows in scratch.slabs(len(narrow), 4 * narrow[:1].nbytes):
        found[rows] = narrow[rows]
    return found


def _check_finite(logits: Logits, ids: NDArray[Any] | Strings, scratch: Scratch) -> None:
    bad: list[int] = []
    count = 0
    for rows in scratch.slabs(len(logits), 2 * logits[:1].nbytes):
        found = rows.start + np.flatnonzero(~np.isfinite(logits[rows]).all(axis=1))
        bad, count = [*bad, *found[:_NAMED_ROWS].tolist()][:_NAMED_ROWS], count + len(found)
    if count:
        named = ", ".join(str(ids[row]) for row in bad)
        raise NonFiniteError(
            f"The teacher's soft targets are NaN or infinite at {count} of {len(logits)} rows (ids {named}). "
            "Drop or recompute these rows."
        )
