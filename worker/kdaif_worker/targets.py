"""The teacher's word, given once per job: a later attempt, maybe elsewhere, trains on the very same targets."""

from __future__ import annotations

import torch
from safetensors.torch import load, save

from kdaif import teachers
from kdaif.datasets import DistillationData
from kdaif.store import BlobStore, layout
from kdaif.teachers import SoftTargets
from kdaif_worker.messages import Assignment

_ARRAYS = ("logits", "test_logits", "external_logits", "planted")


def soft_targets(assignment: Assignment, data: DistillationData, device: torch.device, blobs: BlobStore) -> SoftTargets:
    """Those of the first attempt that got this far, else new ones, made durable before anything trains on them."""
    job = (assignment.tenant, assignment.job_id)
    for attempt in range(1, assignment.attempt):
        path = layout.soft_targets(*job, attempt)
        if blobs.exists(path):
            return _decode(blobs.get_bytes(path))
    targets = teachers.soft_targets(assignment.spec, data, device)
    blobs.put_bytes(layout.soft_targets(*job, assignment.attempt), _encode(targets))
    return targets


def _encode(targets: SoftTargets) -> bytes:
    arrays = {name: getattr(targets, name) for name in _ARRAYS}
    tensors = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items() if array is not None}
    if targets.parameters is not None:
        tensors["parameters"] = torch.tensor(targets.parameters)
    return save(tensors)


def _decode(data: bytes) -> SoftTargets:
    arrays = {name: tensor.numpy() for name, tensor in load(data).items()}
    return SoftTargets(
        logits=arrays["logits"],
        test_logits=arrays.get("test_logits"),
        external_logits=arrays.get("external_logits"),
        planted=arrays.get("planted"),
        parameters=int(arrays["parameters"]) if "parameters" in arrays else None,
    )
