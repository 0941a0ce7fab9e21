"""Names and shapes of a student's parameters, as far as they follow from its declaration alone. Nothing is built."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdaif.datasets.rows import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import (
    Architecture,
    Auto,
    Bag,
    Cnn,
    Layers,
    Mlp,
    Mobilenet,
    Network,
    Resnet,
    SafetensorsSignature,
    TextEncoder,
    usual_network,
)

_FIELD = "spec.initial_weights"
_BUFFERS = ("mean", "scale")


def check_initial_weights(
    given: SafetensorsSignature, student: Architecture, signature: InputSignature, classes: int
) -> None:
    """Refuses weights that are not the student's, by what is known before it is built.

    What of a network depends on a tokenizer or on categories, or is in the middle of it, is left to the worker, which
    compares every name and shape before it trains.

    Raises:
        InvalidInputError: naming the tensor.
    """
    shapes = {tensor.name: tensor.shape for tensor in given.tensors}
    for name, wanted in known_shapes(student, signature, classes).items():
        found = shapes.get(name)
        if found is None and name not in _BUFFERS:
            raise InvalidInputError.of(
                _FIELD, f"lacks {name!r}, which the student has; give weights of this very network"
            )
        if found is not None and not _fits(found, wanted):
            raise InvalidInputError.of(
                _FIELD,
                f"tensor {name!r} is {_shown(found)}, and the student's is {_shown(wanted)}; give weights of this very "
                "network, trained on these columns and classes",
            )


def known_shapes(
    student: Architecture, signature: InputSignature, classes: int
) -> Mapping[str, tuple[int | None, ...]]:
    """By name in the student's state; None where a size is not known."""
    network = None if isinstance(student, Auto) and _has_budget(student) else usual_network(student, signature.kind)
    found: dict[str, tuple[int | None, ...]] = {
        "head.weight": (classes, None if network is None else _features(network)),
        "head.bias": (classes,),
        **dict.fromkeys(_BUFFERS, _standardised(signature)),
    }
    # The width of embedded categories is the business of the room that embeds them.
    if isinstance(network, Mlp) and not any(signature.categories) and not any(signature.nullable):
        width = math.prod(signature.shape)
        for layer, hidden in enumerate(network.hidden_sizes):
            # After what makes a vector of a row: a linear layer, ReLU and, where asked for, Dropout.
            place = 1 + layer * (3 if network.dropout > 0 else 2)
            found |= {f"body.{place}.weight": (hidden, width), f"body.{place}.bias": (hidden,)}
            width = hidden
    return found


def _has_budget(student: Auto) -> bool:
    return student.max_kb is not None or student.max_ms is not None


def _features(network: Network) -> int | None:
    """What the head sees of a row."""
    match network:
        case Mlp():
            return network.hidden_sizes[-1]
        case Cnn():
            return network.hidden_size
        case Resnet():
            return network.channels[-1]
        case Mobilenet():
            return network.channels[-1] * network.expansion
        case Bag():
            return network.hidden_sizes[-1] if network.hidden_sizes else network.embedding_size
        case TextEncoder():
            return network.width
        case Layers():
            return None


def _standardised(signature: InputSignature) -> tuple[int, ...]:
    match signature.kind:
        case "image":
            return (signature.shape[-1], 1, 1)
        case "text":
            return (0,)
        case "numeric":
            return signature.shape


def _fits(found: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(size in (None, own) for size, own in zip(wanted, found, strict=True))


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
