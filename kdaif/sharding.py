"""A network too large for one device, cut over the processes of its group: FSDP2, `torch.distributed.fsdp`.

Each process holds a part of every parameter, of its gradient and of whatever an optimiser keeps beside it. A layer is
whole only while rows go through it. So every process has to make the same passes in the same order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from kdaif.collective import Collective
from kdaif.scratch import Scratch

if TYPE_CHECKING:
    # Elsewhere imported late: it takes 0.6 s and 40 MB, which a process that cuts nothing need not have.
    from torch.distributed.tensor import DTensor

_VIEWS = frozenset({"TBackward0", "TransposeBackward0", "ViewBackward0", "UnsafeViewBackward0", "UnsqueezeBackward0"})


def shard(network: nn.Module, device: torch.device, collective: Collective) -> None:
    """Leaves each process its part of the network on its device, with the values that the first process has.

    Whole it is on the first process's CPU, and in one parameter at a time on each device.

    Args:
        network: on the CPU; on the device ``meta`` in all processes but the first.
        device: of each process its own.
        collective: of all the processes there are, two at least.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    given = dict(network.state_dict()) if collective.leads else {}
    network.to("meta")
    mesh = init_device_mesh(device.type, (collective.size,))
    for layer in [layer for child in network.children() for layer in _layers(child)]:
        fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    for layer in network.modules():
        if isinstance(layer, FSDPModule):
            layer.set_force_sum_reduction_for_comms(True)  # gloo has no other
    network.to_empty(device=device)
    put(network, given, collective)


def is_sharded(network: nn.Module) -> bool:
    """Whether `shard` cut it."""
    return any(_is_cut(parameter) for parameter in network.parameters())


def divide_gradients(network: nn.Module, divisor: float) -> None:
    """From now on a gradient is its sum over the processes, divided by so much; of a network that was cut."""
    from torch.distributed.fsdp import FSDPModule

    for layer in network.modules():
        if isinstance(layer, FSDPModule):
            layer.set_gradient_divide_factor(divisor)


def recast() -> contextlib.AbstractContextManager[None]:
    """Under autocast, for the forward pass of a network that was cut: backward casts its parameters anew.

    Else autograd keeps every layer's cast, so a copy of the whole network on each device; FSDP2 frees but what it made.
    Autocast has to be without its cache, which would keep them too.
    """
    return torch.autograd.graph.saved_tensors_hooks(_without_cast, _cast_anew)


class _Cast(NamedTuple):
    """How a tensor is seen in the cast of a parameter, which is whole again when backward comes to it."""

    parameter: Tensor
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


def _without_cast(saved: Tensor) -> Tensor | _Cast:
    node = saved.grad_fn
    while node is not None and node.name() != "ToCopyBackward0":
        node = node.next_functions[0][0] if node.name() in _VIEWS else None
    cast_from = node.next_functions[0][0] if node is not None else None
    if cast_from is None or not hasattr(cast_from, "variable"):
        return saved
    return _Cast(cast_from.variable, saved.dtype, saved.size(), saved.stride(), int(saved.storage_offset()))


def _cast_anew(saved: Tensor | _Cast) -> Tensor:
    if not isinstance(saved, _Cast):
        return saved
    return saved.parameter.detach().to(saved.dtype).as_strided(saved.size, saved.stride, saved.offset)


def own_part(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory; of a tensor that is not cut, all of it."""
    return tensor.to_local() if _is_cut(tensor) else tensor


def own_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The `own_part` of each."""
    return [own_part(tensor) for tensor in tensors]


def put(network: nn.Module, tensors: Mapping[str, Tensor], collective: Collective) -> None:
    """`load_state_dict` of a network that was cut, with the first process's tensors; the others' are not looked at."""
    with torch.no_grad():
        for name, own in network.state_dict().items():
            own.copy_(spread(tensors[name] if collective.leads else None, own, collective))


def spread(whole: Tensor | None, like: Tensor, collective: Collective) -> Tensor:
    """The first process's tensor, cut as `like` is, and whole where that is.

    Args:
        whole: of the first process; None in the others.
        like: of the same shape.
        collective: of all the processes.
    """
    given = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    if whole is not None:
        given.copy_(whole)
    if not _is_cut(like):
        collective.copied(given)
        return given
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(given, like.device_mesh, like.placements)


def gathered(tensors: Mapping[str, Tensor], scratch: Scratch, collective: Collective) -> dict[str, Tensor]:
    """Whole copies in the first process, in scratch where they are large; none in the others.

    One parameter at a time is whole on each device.
    """
    found = {}
    for name, tensor in tensors.items():
        whole = (tensor.full_tensor() if _is_cut(tensor) else tensor).detach()
        if collective.leads:
            kept = torch.from_numpy(scratch.empty(tuple(whole.shape), str(whole.dtype).removeprefix("torch.")))
            found[name] = kept.copy_(whole)
            scratch.release()
    return found


def _is_cut(tensor: Tensor) -> TypeGuard[DTensor]:
    return hasattr(tensor, "to_local")  # a DTensor alone has it


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """What is made whole by itself: each layer of a sequence, each block of a list, and what else holds parameters."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        for member in module:
            yield from _layers(member)
    elif any(True for _ in module.parameters()):
        for child in module.children():
            if isinstance(child, nn.ModuleList):
                yield from _layers(child)
        yield module
