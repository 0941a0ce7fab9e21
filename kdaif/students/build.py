"""From an architecture of the spec to a network with seeded initial parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import Architecture, Cnn, Mlp
from kdaif.students.auto import network_of
from kdaif.students.standardisation import standardisation
from kdaif.students.student import Student

# Pictures still larger than this after the last block are averaged down, so that the hidden layer stays small.
_LARGEST_GRID = 8


def build_student(
    architecture: Architecture,
    signature: InputSignature,
    n_classes: int,
    reference: NDArray[np.generic],
    seed: int,
    *,
    field: str = "spec.student",
) -> Student:
    """A student on the CPU in training mode; equal seeds give equal parameters, and the global generator is untouched.

    Args:
        architecture: layers and widths; `Auto` is the small network that is usual for the data.
        signature: kind and shape of one raw row, `(D,)` or `(H, W, C)`.
        n_classes: width of the logits, K.
        reference: float32 `[N, D]` or uint8 `[N, H, W, C]`; its mean and spread standardise the inputs.
        seed: of the initial parameters.
        field: where the architecture stands in the request, for the error.

    Raises:
        InvalidInputError: a CNN was asked for on rows that are not images.
    """
    architecture = network_of(architecture, signature)
    if isinstance(architecture, Cnn) and signature.kind != "image":
        raise InvalidInputError.of(field, "a CNN needs images, but the data are numeric columns; use kind 'mlp'")
    mean, scale = standardisation(reference, signature)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(architecture, Cnn):
            body, width = _cnn_body(architecture, signature.shape)
        else:
            body, width = _mlp_body(architecture, math.prod(signature.shape))
        head = nn.Linear(width, n_classes)
    return Student(signature, mean, scale, body, head)


def _mlp_body(architecture: Mlp, n_inputs: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [nn.Flatten()]
    width = n_inputs
    for hidden in architecture.hidden_sizes:
        layers += _hidden_layer(width, hidden, architecture.dropout)
        width = hidden
    return nn.Sequential(*layers), width


def _cnn_body(architecture: Cnn, shape: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    height, width, channels = shape
    layers: list[nn.Module] = []
    for out_channels in architecture.channels:
        layers += [
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        ]
        channels = out_channels
        if max(height, width) > 1:
            kernel = (min(height, 2), min(width, 2))
            layers.append(nn.MaxPool2d(kernel))
            height, width = height // kernel[0], width // kernel[1]
    while max(height, width) > _LARGEST_GRID:
        kernel = (min(height, 2), min(width, 2))
        layers.append(nn.AvgPool2d(kernel))
        height, width = height // kernel[0], width // kernel[1]
    layers.append(nn.Flatten())
    layers += _hidden_layer(channels * height * width, architecture.hidden_size, architecture.dropout)
    return nn.Sequential(*layers), architecture.hidden_size


def _hidden_layer(n_inputs: int, n_outputs: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return layers
