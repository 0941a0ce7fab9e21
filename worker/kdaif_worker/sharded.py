"""Whether an attempt's students are cut over the processes that share it."""

from __future__ import annotations

import torch

from kdaif.collective import Collective
from kdaif.datasets import DistillationData
from kdaif.errors import FieldViolation, InvalidInputError
from kdaif.records import DistillationSpec
from kdaif.rounds import unshardable
from kdaif.students import Standardisation, build_student
from kdaif_worker.messages import Assignment

# In float32: a parameter, its gradient, two moments, and its part of a moving average.
_BYTES_A_PARAMETER = 20
_SHARE_OF_DEVICE = 0.5  # the rows of the job and the results of the layers need the rest


def require_shardable(spec: DistillationSpec) -> None:
    """Raises InvalidInputError where students of the job cannot be cut."""
    found = [FieldViolation(f"spec.{name}", why) for name, why in unshardable(spec).items()]
    if found:
        raise InvalidInputError("; ".join(f"{each.field} {each.description}" for each in found), tuple(found))


def is_to_be_sharded(assignment: Assignment, data: DistillationData, device: torch.device, group: Collective) -> bool:
    """By the worker's setting; `auto` cuts what can be cut, of which training would fill half of a GPU.

    Args:
        assignment: of the attempt, with the network to train.
        data: of the job.
        device: of this process.
        group: of the processes that share the attempt; all come to the same answer.
    """
    wanted, spec = assignment.shard_students, assignment.spec
    if group.size == 1 or wanted == "never":
        return False
    if wanted == "always":
        return True
    if device.type != "cuda" or unshardable(spec):
        return False
    needed = _BYTES_A_PARAMETER * count_parameters(spec, data)
    is_large = needed > _SHARE_OF_DEVICE * torch.cuda.get_device_properties(device).total_memory
    return bool(group.agreed(int(is_large)))


def count_parameters(spec: DistillationSpec, data: DistillationData) -> int:
    """Of the student, without the memory of one."""
    inputs = Standardisation.none(data.signature)
    with torch.device("meta"):
        student = build_student(spec.student, data.signature, len(data.class_names), inputs, spec.training.seed)
    return sum(parameter.numel() for parameter in student.parameters())
