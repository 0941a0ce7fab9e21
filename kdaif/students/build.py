"""From an architecture of the spec to a network with seeded initial parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import Architecture, Bag, Cnn, Layers, Mlp, Mobilenet, Network, Resnet, TextEncoder, misfits
from kdaif.students.auto import network_of
from kdaif.students.dense import hidden_layers
from kdaif.students.own_layers import layers_body
from kdaif.students.pictures import cnn_body, mobilenet_body, resnet_body
from kdaif.students.standardisation import Standardisation, standardisation
from kdaif.students.student import Student
from kdaif.students.tables import ColumnInputs, has_special_columns
from kdaif.students.texts import bag_body, text_encoder_body, vocabulary_size


def build_student(
    architecture: Architecture,
    signature: InputSignature,
    n_classes: int,
    reference: NDArray[np.generic] | Standardisation,
    seed: int,
    *,
    field: str = "spec.student",
) -> Student:
    """A student on the CPU in training mode; equal seeds give equal parameters, and the global generator is untouched.

    Args:
        architecture: layers and widths; `Auto` is the small network that is usual for the data.
        signature: kind and shape of one raw row, `(D,)`, `(H, W, C)` or `(max_tokens,)`.
        n_classes: width of the logits, K.
        reference: by which numbers and pixels are standardised, or some rows in memory to take it from, float32
            `[N, D]`, uint8 `[N, H, W, C]` or int32 `[N, max_tokens]`.
        seed: of the initial parameters.
        field: where the architecture stands in the request, for the error.

    Raises:
        InvalidInputError: a network that is not for such rows, as `kdaif.records.misfits` has it.
    """
    network = network_of(architecture, signature)
    for place, why in misfits(network, signature.kind, signature.shape).items():
        raise InvalidInputError.of(field + place, why)
    inputs = reference if isinstance(reference, Standardisation) else standardisation([reference], signature)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, width = _body(network, signature)
        head = nn.Linear(width, n_classes)
    return Student(signature, inputs.mean, inputs.scale, body, head)


def _body(network: Network, signature: InputSignature) -> tuple[nn.Sequential, int]:
    match network:
        case Mlp():
            first, width = _vector(signature)
            hidden, width = hidden_layers(width, network.hidden_sizes, network.dropout)
            return nn.Sequential(first, *hidden), width
        case Layers():
            if signature.kind == "image":
                height, width, channels = signature.shape
                return layers_body(network, (channels, height, width))
            first, width = _vector(signature)
            own, width = layers_body(network, (width,))
            return nn.Sequential(first, *own), width
        case Cnn():
            return cnn_body(network, signature.shape)
        case Resnet():
            return resnet_body(network, signature.shape[-1])
        case Mobilenet():
            return mobilenet_body(network, signature.shape[-1])
        case Bag():
            return bag_body(network, vocabulary_size(signature.tokenizer))
        case TextEncoder():
            return text_encoder_body(network, vocabulary_size(signature.tokenizer), signature.shape[0])


def _vector(signature: InputSignature) -> tuple[nn.Module, int]:
    """What makes one vector of a row, and its width."""
    if has_special_columns(signature):
        columns = ColumnInputs(signature)
        return columns, columns.width
    return nn.Flatten(), math.prod(signature.shape)
