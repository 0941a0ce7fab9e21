"""What an arm needs to go on after a round, as plain tensors and numbers that any file format can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdaif.collective import SOLO, Collective
from kdaif.sharding import gathered, is_sharded, put, spread
from kdaif.workspace import Workspace


@dataclass(frozen=True, eq=False)
class ArmState:
    """An arm between two rounds.

    Attributes:
        tensors: on the CPU, contiguous, none sharing memory with another; by name: ``student/...`` parameters and
            buffers, ``optimizer/<parameter>/...``, ``weighting/...``, ``beliefs/...``, and where the job asks for them
            ``average/...``, the moving average of the weights, and ``best/...``, the best round's student. Those of the
            rows lie in scratch where they are large, and so do all of a student that is cut over processes, of which
            the first alone has ``student/...``, ``optimizer/...``, ``average/...`` and ``best/...``.
        numbers: ``round``, counted from 1, and ``seed``; with patience ``best_round`` and ``best_validation_loss``;
            those of `Freezing` in an arm that was scored.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, float]


def pack(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    remembered: Mapping[str, Mapping[str, Tensor]],
    of_rows: Mapping[str, Mapping[str, Tensor]],
    workspace: Workspace,
    *,
    round_number: int,
    seed: int,
    more_numbers: Mapping[str, float],
) -> ArmState:
    """Everything, so that later steps do not change it: copies, but for what is never changed once made.

    Args:
        student: that is trained; perhaps cut over processes, and then so is what is remembered.
        optimizer: over its parameters.
        remembered: more that training changes, by group and name.
        of_rows: what was made of the rows of U once and is not changed, by group and name; may be as large as U.
        workspace: of the rows.
        round_number: that ended.
        seed: of the arm.
        more_numbers: to be kept.
    """
    tensors = {f"student/{name}": tensor for name, tensor in student.state_dict().items()}
    for name, parameter in student.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    tensors |= _flat(remembered)
    if is_sharded(student):
        kept = gathered(tensors, workspace.scratch, workspace.collective)
    else:
        kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    kept |= {name: torch.from_numpy(workspace.on_cpu(tensor)) for name, tensor in _flat(of_rows).items()}
    return ArmState(kept, {"round": float(round_number), "seed": float(seed), **more_numbers})


def _flat(groups: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for group, members in groups.items() for name, tensor in members.items()}


def student_alone(state: ArmState) -> ArmState:
    """What `student_of` needs of a state, so nothing of the rows."""
    prefixes = ("student/", "average/", "best/")
    return ArmState(
        {name: tensor for name, tensor in state.tensors.items() if name.startswith(prefixes)}, state.numbers
    )


def restore(
    state: ArmState,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
    collective: Collective = SOLO,
) -> None:
    """Puts parameters, buffers, optimiser moments and the moving average back; the modules keep their devices.

    Of students that are cut over the processes of the collective, those of the first one's state; the others need it
    too, for what there is.
    """
    if is_sharded(student):
        _restore_parts(state, student, optimizer, average, collective)
        return
    student.load_state_dict(under(state, "student/"))
    if average is not None:
        average.load_state_dict(under(state, "average/"))
    for name, parameter in student.named_parameters():
        moments = under(state, f"optimizer/{name}/")
        optimizer.state[parameter] = {key: value.to(parameter.device, copy=True) for key, value in moments.items()}


def _restore_parts(
    state: ArmState,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    collective: Collective,
) -> None:
    if not under(state, "student/"):
        raise ValueError("a student that is cut goes on from a state that every process has whole, as in a checkpoint")
    put(student, under(state, "student/"), collective)
    if average is not None:
        put(average, under(state, "average/"), collective)
    for name, parameter in student.named_parameters():
        moments = under(state, f"optimizer/{name}/")
        # Some are of the parameter's shape, and the number of steps is the same in all processes.
        optimizer.state[parameter] = {
            key: spread(value, parameter, collective).detach()
            if value.shape == parameter.shape
            else value.to(parameter.device, copy=True)
            for key, value in moments.items()
        }


def under(state: ArmState, prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
