"""A body from a list of layers that `kdaif.records.misfits` has nothing against."""

from __future__ import annotations

import math

from torch import nn

from kdaif.records import Activation, BatchNorm, Conv, Dropout, Layers, Linear, Pool

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def layers_body(architecture: Layers, shape: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """Body and number of features; what is still a picture at the end is flattened.

    Args:
        architecture: the layers.
        shape: of one input: `(C, H, W)`, or `(D,)`.
    """
    modules: list[nn.Module] = []
    for layer in architecture.layers:
        match layer:
            case Linear():
                modules += [*([nn.Flatten()] if len(shape) > 1 else []), nn.Linear(math.prod(shape), layer.width)]
                shape = (layer.width,)
            case Conv():
                size, stride = layer.kernel_size, layer.stride
                modules.append(nn.Conv2d(shape[0], layer.channels, size, stride, padding=size // 2))
                shape = (layer.channels, *((side - 1) // stride + 1 for side in shape[1:]))
            case BatchNorm():
                modules.append(nn.BatchNorm2d(shape[0]) if len(shape) > 1 else nn.BatchNorm1d(shape[0]))
            case Activation():
                modules.append(_ACTIVATIONS[layer.function]())
            case Pool():
                modules.append(nn.MaxPool2d(layer.size) if layer.function == "max" else nn.AvgPool2d(layer.size))
                shape = (shape[0], *(side // layer.size for side in shape[1:]))
            case Dropout():
                modules.append(nn.Dropout(layer.share))
    if len(shape) > 1:
        modules.append(nn.Flatten())
    return nn.Sequential(*modules), math.prod(shape)
