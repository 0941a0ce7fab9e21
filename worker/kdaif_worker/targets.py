"""The teacher's word, given once per job: a later attempt, maybe elsewhere, trains on the very same targets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from kdaif import teachers
from kdaif.datasets import DistillationData
from kdaif.errors import AlreadyExistsError
from kdaif.export import certify, export_onnx
from kdaif.store import BlobStore, attempts_with_blobs, layout
from kdaif.students import Student
from kdaif.teachers import SoftTargets
from kdaif_worker.messages import Assignment

_ARRAYS = ("logits", "test_logits", "external_logits", "labeled_logits", "planted")


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
    """
    job = (assignment.tenant, assignment.job_id)
    for attempt in attempts_with_blobs(blobs, *job, assignment.attempt - 1):
        path = layout.soft_targets(*job, attempt)
        if blobs.exists(path):
            return _decode(blobs.get_bytes(path))
    remember = partial(_remembered, blobs, assignment.tenant)
    targets = teachers.soft_targets(assignment.spec, data, device, models=models, remember=remember)
    cost = None if targets.network is None else _cost(targets.network, data)
    blobs.put_bytes(layout.soft_targets(*job, assignment.attempt), _encode(targets, cost))
    return targets, cost


def _remembered(
    blobs: BlobStore, tenant: str, key: str, make: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    path = layout.model_outputs(tenant, key)
    if blobs.exists(path):
        kept: NDArray[np.float32] = load(blobs.get_bytes(path))["outputs"].numpy()
        return kept
    made = make()
    with contextlib.suppress(AlreadyExistsError):  # another job was faster, with the same outputs
        blobs.put_bytes(path, save({"outputs": torch.from_numpy(made).contiguous()}))
    return made


def _cost(teacher: Student, data: DistillationData) -> TeacherCost:
    """Measured as the student's is, so that the two can be compared."""
    with tempfile.TemporaryDirectory(prefix="kdaif-teacher-") as folder:
        file = Path(folder) / "teacher.onnx"
        export_onnx(teacher, file, data.class_names)
        certificate = certify(teacher, file, data.test.features)
    return TeacherCost(certificate.size_bytes / 1000, certificate.onnx_ms_per_row)


def _encode(targets: SoftTargets, cost: TeacherCost | None) -> bytes:
    arrays = {name: getattr(targets, name) for name in _ARRAYS}
    tensors = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items() if array is not None}
    if cost is not None:
        tensors["cost"] = torch.tensor([cost.size_kb, cost.ms_per_row], dtype=torch.float64)
    return save(tensors)


def _decode(data: bytes) -> tuple[SoftTargets, TeacherCost | None]:
    arrays = {name: tensor.numpy() for name, tensor in load(data).items()}
    targets = SoftTargets(
        logits=arrays["logits"],
        test_logits=arrays.get("test_logits"),
        external_logits=arrays.get("external_logits"),
        labeled_logits=arrays.get("labeled_logits"),
        planted=arrays.get("planted"),
        network=None,
    )
    return targets, TeacherCost(*arrays["cost"].tolist()) if "cost" in arrays else None
