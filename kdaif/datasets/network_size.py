"""Size of a network from its declaration alone: plain arithmetic over layers, without building anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kdaif.datasets.rows import InputSignature
from kdaif.records import Architecture, Auto, Bag, Cnn, Conv, Layers, Linear, Mlp, Mobilenet, Pool, Resnet, TextEncoder

_KERNEL = 9  # of the 3 x 3 convolutions
_LARGEST_GRID = 8  # pictures are averaged down to it before a hidden layer
_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class NetworkSize:
    """Parameters, and multiplications of one row on its way forward. Biases and normalisation are left out."""

    parameters: int
    multiplications: int

    def __add__(self, other: NetworkSize) -> NetworkSize:
        return NetworkSize(self.parameters + other.parameters, self.multiplications + other.multiplications)


def network_size(architecture: Architecture, signature: InputSignature, n_classes: int, vocabulary: int) -> NetworkSize:
    """The size of a student or teacher on such rows.

    Args:
        architecture: `Auto` is taken for the small network that is usual for the data, or one that fills ``max_kb``.
        signature: of one row.
        n_classes: width of the output.
        vocabulary: word pieces, for text.
    """
    shape = signature.shape
    match architecture:
        case Auto():
            usual: dict[str, Architecture] = {"image": Cnn(), "text": Bag(), "numeric": Mlp()}
            size = network_size(usual[signature.kind], signature, n_classes, vocabulary)
            fills = int((architecture.max_kb or 0) * 1000 / _BYTES_PER_PARAMETER)
            return size if fills <= size.parameters else NetworkSize(fills, fills * _uses_per_parameter(size))
        case Mlp():
            return _chain([math.prod(shape), *architecture.hidden_sizes, n_classes])
        case Bag():
            width = architecture.embedding_size
            rows = vocabulary + architecture.pair_buckets
            embedded = NetworkSize(rows * width, 2 * shape[0] * width)
            return embedded + _chain([width, *architecture.hidden_sizes, n_classes])
        case TextEncoder():
            width, tokens = architecture.width, shape[0]
            block = NetworkSize(12 * width**2, tokens * (12 * width**2 + 2 * tokens * width))
            blocks = NetworkSize(block.parameters * architecture.depth, block.multiplications * architecture.depth)
            return NetworkSize(vocabulary * width, 0) + blocks + _chain([width, n_classes])
        case Layers():
            return _layers(architecture, shape, n_classes)
        case Cnn() | Resnet() | Mobilenet():
            return _picture_network(architecture, shape, n_classes)


def _picture_network(network: Cnn | Resnet | Mobilenet, shape: Sequence[int], n_classes: int) -> NetworkSize:
    height, width, channels = shape
    total = NetworkSize(0, 0)
    for stage, out in enumerate(network.channels):
        pixels = height * width
        if isinstance(network, Cnn):
            total += _per_pixel(_KERNEL * channels * out, pixels)
        elif isinstance(network, Resnet):
            convolutions = 2 * network.blocks_per_stage - 1
            total += _per_pixel(_KERNEL * (channels * out + convolutions * out * out), pixels)
        else:
            inner = network.expansion * channels
            total += _per_pixel(inner * (channels + _KERNEL + out), pixels)
        channels = out
        if isinstance(network, Cnn) or stage < len(network.channels) - 1:
            height, width = max(1, height // 2), max(1, width // 2)
    if not isinstance(network, Cnn):
        return total + _chain([channels, n_classes])
    flat = channels * min(height, _LARGEST_GRID) * min(width, _LARGEST_GRID)
    return total + _chain([flat, network.hidden_size, n_classes])


def _layers(network: Layers, shape: Sequence[int], n_classes: int) -> NetworkSize:
    height, width, channels = shape if len(shape) == 3 else (1, 1, math.prod(shape))
    total = NetworkSize(0, 0)
    for layer in network.layers:
        match layer:
            case Conv():
                height, width = -(-height // layer.stride), -(-width // layer.stride)
                total += _per_pixel(layer.kernel_size**2 * channels * layer.channels, height * width)
                channels = layer.channels
            case Pool():
                height, width = max(1, height // layer.size), max(1, width // layer.size)
            case Linear():
                total += _chain([height * width * channels, layer.width])
                height, width, channels = 1, 1, layer.width
            case _:
                pass  # normalisation, activations and dropout are not counted
    return total + _chain([height * width * channels, n_classes])


def _chain(widths: Sequence[int]) -> NetworkSize:
    products = sum(before * after for before, after in pairwise(widths))
    return NetworkSize(products, products)


def _per_pixel(parameters: int, pixels: int) -> NetworkSize:
    return NetworkSize(parameters, parameters * pixels)


def _uses_per_parameter(size: NetworkSize) -> int:
    return max(1, size.multiplications // max(1, size.parameters))
