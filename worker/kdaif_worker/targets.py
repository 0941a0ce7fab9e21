"""The teacher's word, given once per job: a later attempt, maybe elsewhere, trains on the very same targets."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kdaif import teachers
from kdaif.datasets import DistillationData
from kdaif.errors import AlreadyExistsError, DataCorruptedError
from kdaif.export import certify, export_onnx
from kdaif.records import Finding
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, attempts_with_blobs, layout
from kdaif.students import Student
from kdaif.teachers import SoftTargets
from kdaif.top_classes import Logits, TopClasses
from kdaif_worker.messages import Assignment
from kdaif_worker.tensor_files import read_tensors, write_tensors

_FINDINGS = TypeAdapter(tuple[Finding, ...])
_ARRAYS = ("test_logits", "external_logits", "labeled_logits", "validation_logits", "planted")


@dataclass(frozen=True)
class TeacherCost:
    """What the teacher would cost at the edge: its ONNX file, and one row at batch 1 on one thread."""

    size_kb: float
    ms_per_row: float


def soft_targets(
    assignment: Assignment,
    data: DistillationData,
    device: torch.device,
    blobs: BlobStore,
    models: Mapping[str, Path] | None = None,
    scratch: Scratch | None = None,
) -> tuple[SoftTargets, TeacherCost | None]:
    """Those of the first attempt that got this far, else new ones, made durable before anything trains on them.

    The network is not kept; its cost is. There is none for a teacher that is not one trained network. What model files
    say is kept for the whole tenant: another job with the same model and rows does not run it again.

    Args:
        assignment: the attempt.
        data: its rows.
        device: where the teacher trains.
        blobs: where targets and outputs are kept.
        models: local model file by role.
        scratch: of the rows and of the targets; None keeps them in memory.
    """
    room = Scratch() if scratch is None else scratch
    job = (assignment.tenant, assignment.job_id)
    # Its own attempt too: another process of it may have been here.
    for attempt in attempts_with_blobs(blobs, *job, assignment.attempt):
        for path in (layout.soft_targets(*job, attempt), layout.largest_soft_targets(*job, attempt)):
            if blobs.exists(path):
                return _targets(_read(blobs, path, room))
    remember = partial(_remembered, blobs, assignment.tenant, room)
    targets = teachers.soft_targets(assignment.spec, data, device, models=models, remember=remember, scratch=room)
    cost = None if targets.network is None else _cost(targets.network, data)
    place = layout.largest_soft_targets if isinstance(targets.logits, TopClasses) else layout.soft_targets
    _put(blobs, place(*job, assignment.attempt), _arrays(targets, cost), room)
    return targets, cost


def _remembered(
    blobs: BlobStore, tenant: str, scratch: Scratch, key: str, make: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    path = layout.model_outputs(tenant, key)
    damaged = False
    if blobs.exists(path):
        try:
            return _read(blobs, path, scratch)["outputs"]
        except DataCorruptedError:
            damaged = True
    made = make()
    with contextlib.suppress(AlreadyExistsError):  # another job was faster, with the same outputs
        _put(blobs, path, {"outputs": made}, scratch, replace=damaged)
    return made


def _put(
    blobs: BlobStore, path: str, arrays: Mapping[str, NDArray[Any]], scratch: Scratch, *, replace: bool = False
) -> None:
    with scratch.spooled() as file:
        write_tensors(file, arrays, {}, scratch)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if replace:
            blobs.replace_stream(path, file, size)
        else:
            blobs.put_stream(path, file, size)


def _read(blobs: BlobStore, path: str, scratch: Scratch) -> dict[str, NDArray[Any]]:
    try:
        return read_tensors(blobs.iter_range(path), blobs.size(path), scratch, hashed=False)[0]
    except ValueError as error:
        raise DataCorruptedError(f"{path} is damaged: {error}; submit the job again") from error


def _cost(teacher: Student, data: DistillationData) -> TeacherCost:
    """Measured as the student's is, so that the two can be compared."""
    with tempfile.TemporaryDirectory(prefix="kdaif-teacher-") as folder:
        file = Path(folder) / "teacher.onnx"
        export_onnx(teacher, file, data.class_names)
        certificate = certify(teacher, file, data.test.features)
    return TeacherCost(certificate.size_bytes / 1000, certificate.onnx_ms_per_row)


def _arrays(targets: SoftTargets, cost: TeacherCost | None) -> dict[str, NDArray[Any]]:
    arrays = {name: getattr(targets, name) for name in _ARRAYS if getattr(targets, name) is not None}
    arrays |= _of_logits(targets.logits)
    # Beside the arrays, so that a later attempt's report tells what the first one found.
    arrays["findings"] = np.frombuffer(_FINDINGS.dump_json(targets.findings), np.uint8)
    return arrays if cost is None else {**arrays, "cost": np.array([cost.size_kb, cost.ms_per_row])}


def _targets(arrays: Mapping[str, NDArray[Any]]) -> tuple[SoftTargets, TeacherCost | None]:
    targets = SoftTargets(
        logits=_logits(arrays),
        test_logits=arrays.get("test_logits"),
        external_logits=arrays.get("external_logits"),
        labeled_logits=arrays.get("labeled_logits"),
        validation_logits=arrays.get("validation_logits"),
        planted=arrays.get("planted"),
        network=None,
        findings=_FINDINGS.validate_json(arrays["findings"].tobytes()) if "findings" in arrays else (),
    )
    return targets, TeacherCost(*arrays["cost"].tolist()) if "cost" in arrays else None


def _of_logits(logits: Logits) -> dict[str, NDArray[Any]]:
    if not isinstance(logits, TopClasses):
        return {"logits": logits}
    kept = {f"logits.{name}": array for name, array in logits.arrays.items()}
    return kept | {"logits.of": np.array([logits.n_classes, logits.temperature], np.float64)}


def _logits(arrays: Mapping[str, NDArray[Any]]) -> Logits:
    if "logits" in arrays:
        return arrays["logits"]
    n_classes, temperature = arrays["logits.of"].tolist()
    values, classes, rest = (arrays[f"logits.{name}"] for name in ("values", "classes", "rest"))
    return TopClasses(values, classes, rest, int(n_classes), temperature)
