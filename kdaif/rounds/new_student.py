"""Students of a job: new ones to be trained, and those that came out of an arm."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import torch
from torch import Tensor

from kdaif.datasets import DistillationData
from kdaif.records.spec import DistillationSpec
from kdaif.rounds.state import ArmState, under
from kdaif.sharding import shard
from kdaif.students import Standardisation, Student, build_student, load_initial_weights
from kdaif.workspace import Workspace


def new_student(
    spec: DistillationSpec,
    data: DistillationData,
    inputs: Standardisation,
    seed: int,
    initial_weights: Mapping[str, Tensor] | None,
    workspace: Workspace,
    *,
    sharded: bool,
) -> Student:
    """In training mode on the device of the workspace, or cut over its processes.

    Args:
        spec: of the job.
        data: of the job.
        inputs: by which rows are standardised.
        seed: of the parameters.
        initial_weights: in the place of parameters by the seed; None for none. Of a student that is cut, the first
            process's count.
        workspace: of the rows.
        sharded: whether it is cut.
    """
    if not sharded:
        return _whole(spec, data, inputs, seed, initial_weights).to(workspace.device)
    with _valued_in_the_first(workspace):
        student = _whole(spec, data, inputs, seed, initial_weights if workspace.collective.leads else None)
    shard(student, workspace.device, workspace.collective)
    return student


def student_of(state: ArmState, spec: DistillationSpec, data: DistillationData) -> Student:
    """The student of a state, in eval mode, on the CPU: the best round's, else the moving average, else the last.

    It has the head that predicts, and none for soft targets.
    """
    student = _blank(state, spec, data)
    kept = (under(state, prefix) for prefix in ("best/", "average/module.", "student/"))
    tensors = next(tensors for tensors in kept if tensors)
    student.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("soft_head.")})
    return student.eval()


def sharded_student_of(
    state: ArmState, spec: DistillationSpec, data: DistillationData, workspace: Workspace
) -> Student:
    """The `student_of` the first process's state, cut over all processes of the workspace."""
    with _valued_in_the_first(workspace):
        student = student_of(state, spec, data) if workspace.collective.leads else _blank(state, spec, data)
    shard(student, workspace.device, workspace.collective)
    return student.eval()


def _valued_in_the_first(workspace: Workspace) -> contextlib.AbstractContextManager[object]:
    """Networks that other processes make in here have shapes and no values."""
    return contextlib.nullcontext() if workspace.collective.leads else torch.device("meta")


def _blank(state: ArmState, spec: DistillationSpec, data: DistillationData) -> Student:
    """Of the state's shapes; its mean and scale are among the state's tensors."""
    return _whole(spec, data, Standardisation.none(data.signature), int(state.numbers["seed"]), None)


def _whole(
    spec: DistillationSpec,
    data: DistillationData,
    inputs: Standardisation,
    seed: int,
    initial_weights: Mapping[str, Tensor] | None,
) -> Student:
    student = build_student(spec.student, data.signature, len(data.class_names), inputs, seed)
    if initial_weights is not None:
        load_initial_weights(student, initial_weights)
    return student
