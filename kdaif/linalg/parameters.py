"""All parameters of a network as one vector, and its derivatives in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def parameter_vector(module: nn.Module) -> Tensor:
    """A copy of all parameters, detached, `[P]`, in the order of `named_parameters`."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def logits_of(module: nn.Module, rows: Tensor) -> Callable[[Tensor], Tensor]:
    """The module's output on fixed rows `[M, ...]` as a pure function of the parameter vector: `[P]` to `[M, C]`.

    Buffers and the training mode are the module's own; put it in eval mode first.
    """
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    sizes = [math.prod(shape) for shape in shapes.values()]

    def logits(vector: Tensor) -> Tensor:
        parts = torch.split(vector, sizes)
        parameters = {
            name: _laid_out(part.view(shape)) for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        output: Tensor = torch.func.functional_call(module, parameters, (rows,))
        return output

    return logits


def laid_out(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters by name, as `logits_of` gives them to it."""
    return {name: _laid_out(parameter) for name, parameter in module.named_parameters()}


def _laid_out(parameter: Tensor) -> Tensor:
    """A convolution's weight with channels last: its output then is too, and pooling it is faster on a CPU."""
    if parameter.ndim == 4 and parameter.device.type == "cpu":
        # Not by memory_format, which vmap refuses. The order of a single channel is in the strides alone: `contiguous`
        # would leave them as they are, and the output with channels first.
        outputs, channels, height, width = parameter.shape
        last = parameter.reshape(outputs, height, width, 1) if channels == 1 else parameter.permute(0, 2, 3, 1)
        return last.contiguous().permute(0, 3, 1, 2)
    return parameter


def linearise(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The function's value and its transposed Jacobian product u -> J^T u; each product is one backward pass.

    The product of a u that requires a gradient has one in u, and so can be linearised in its turn. `torch.func.vjp`
    does the same, but imports torch's compiler at its first product: a second, and 30 MiB beyond `pulled_back`.

    Args:
        function: differentiable, one tensor to one tensor.
        at: where.
    """
    variable = at.detach().requires_grad_()
    with torch.enable_grad():
        value = function(variable)

    def product(cotangent: Tensor) -> Tensor:
        (back,) = pulled_back(value, (variable,), cotangent, twice=cotangent.requires_grad)
        return back

    return value.detach(), product


def pulled_back(
    value: Tensor, inputs: Sequence[Tensor], cotangent: Tensor, *, twice: bool = False
) -> tuple[Tensor, ...]:
    """The transposed Jacobian product of a graph that is kept, one tensor per input.

    By the gradient of an inner product: handing the cotangent to `torch.autograd.grad` imports sympy at the first use,
    half a second and 40 MiB.

    Args:
        value: computed from the inputs.
        inputs: leaves or results within the graph.
        cotangent: in the shape of the value.
        twice: the product is to be differentiated in its turn.
    """
    with torch.enable_grad():
        inner = (value * cotangent).sum()
    return torch.autograd.grad(inner, inputs, retain_graph=True, create_graph=twice)
