"""What an arm needs to go on after a round, as plain tensors and numbers that any file format can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class ArmState:
    """An arm between two rounds.

    Attributes:
        tensors: on the CPU, contiguous, none sharing memory with another; by name: ``student/...`` parameters and
            buffers, ``optimizer/<parameter>/...``, ``weighting/...``, ``beliefs/...``, and where the job asks for them
            ``average/...``, the moving average of the weights, and ``best/...``, the best round's student.
        numbers: ``round``, counted from 1, and ``seed``; with patience ``best_round`` and ``best_validation_loss``.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, float]


def pack(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    remembered: Mapping[str, Mapping[str, Tensor]],
    *,
    round_number: int,
    seed: int,
    more_numbers: Mapping[str, float],
) -> ArmState:
    """A copy of everything; later steps do not change it."""
    tensors = {f"student/{name}": tensor for name, tensor in student.state_dict().items()}
    for name, parameter in student.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    for group, members in remembered.items():
        tensors |= {f"{group}/{name}": tensor for name, tensor in members.items()}
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return ArmState(copies, {"round": float(round_number), "seed": float(seed), **more_numbers})


def restore(state: ArmState, student: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts parameters, buffers and optimiser moments back; the modules keep their devices."""
    student.load_state_dict(under(state, "student/"))
    for name, parameter in student.named_parameters():
        moments = under(state, f"optimizer/{name}/")
        optimizer.state[parameter] = {key: value.to(parameter.device, copy=True) for key, value in moments.items()}


def under(state: ArmState, prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}
