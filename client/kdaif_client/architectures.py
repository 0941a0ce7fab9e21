"""Networks as they are declared. ``None`` means the server's default, which the docstrings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "Activation",
    "Architecture",
    "Auto",
    "Bag",
    "BatchNorm",
    "Cnn",
    "Conv",
    "Dropout",
    "Layer",
    "Layers",
    "Linear",
    "Mlp",
    "Mobilenet",
    "Pool",
    "Resnet",
    "TextEncoder",
]


@dataclass(frozen=True)
class Mlp:
    """Multilayer perceptron over the standardised features; categories are embedded first.

    Attributes:
        hidden_sizes: width of each hidden layer. Default (64,).
        dropout: 0 to 0.9. Default 0.
    """

    hidden_sizes: Sequence[int] | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Cnn:
    """Small convolutional network, for images.

    Attributes:
        channels: output channels of each block; every block halves the picture. Default (16, 32).
        hidden_size: width of the layer before the output. Default 64.
        dropout: 0 to 0.9. Default 0.
    """

    channels: Sequence[int] | None = None
    hidden_size: int | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Resnet:
    """Residual network, for images.

    Attributes:
        channels: of each stage; every stage but the first halves the picture. Default (16, 32, 64).
        blocks_per_stage: residual blocks of two convolutions. Default 1.
        dropout: 0 to 0.9. Default 0.
    """

    channels: Sequence[int] | None = None
    blocks_per_stage: int | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Mobilenet:
    """Inverted residuals of depthwise convolutions, for images.

    Attributes:
        channels: of each block; every block but the first halves the picture. Default (16, 24, 32, 64).
        expansion: how many times wider a block is inside. Default 4.
        dropout: 0 to 0.9. Default 0.
    """

    channels: Sequence[int] | None = None
    expansion: int | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Bag:
    """The mean of the embeddings of a text's word pieces and of its hashed pairs of them, then an MLP.

    Attributes:
        embedding_size: default 64.
        pair_buckets: rows of the table into which pairs are hashed; 0 leaves pairs out. Default 2,048.
        hidden_sizes: width of each hidden layer. Default: none, the output layer follows the mean.
        dropout: 0 to 0.9. Default 0.
    """

    embedding_size: int | None = None
    pair_buckets: int | None = None
    hidden_sizes: Sequence[int] | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class TextEncoder:
    """A small transformer encoder over word pieces, for text.

    Attributes:
        width: default 64.
        heads: must divide width. Default 4.
        depth: default 2.
        dropout: 0 to 0.9. Default 0.1.
    """

    width: int | None = None
    heads: int | None = None
    depth: int | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class Linear:
    """Fully connected layer of ``Layers``; what comes before is flattened."""

    width: int


@dataclass(frozen=True)
class Conv:
    """Convolution of ``Layers`` that keeps height and width at stride 1.

    Attributes:
        channels: of the output.
        kernel_size: odd. Default 3.
        stride: default 1.
    """

    channels: int
    kernel_size: int | None = None
    stride: int | None = None


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of ``Layers``."""


@dataclass(frozen=True)
class Activation:
    """Activation of ``Layers``: ``"relu"`` (default), ``"gelu"`` or ``"silu"``."""

    function: Literal["relu", "gelu", "silu"] | None = None


@dataclass(frozen=True)
class Pool:
    """Pooling of ``Layers`` over squares of the picture.

    Attributes:
        function: ``"max"`` (default) or ``"mean"``.
        size: of the square. Default 2.
    """

    function: Literal["max", "mean"] | None = None
    size: int | None = None


@dataclass(frozen=True)
class Dropout:
    """Dropout of ``Layers``, above 0 and at most 0.9."""

    share: float


Layer: TypeAlias = Linear | Conv | BatchNorm | Activation | Pool | Dropout


@dataclass(frozen=True)
class Layers:
    """A list of layers of one's own; the output layer is added."""

    layers: Sequence[Layer]


@dataclass(frozen=True)
class Auto:
    """One of the others, chosen for the data: the largest within the budget.

    Without a budget it is a small one: an MLP for numbers, a CNN for images, a bag for text.

    Attributes:
        max_kb: size of the ONNX file in kilobytes (1,000 bytes). Default: no bound.
        max_ms: median milliseconds of one row on one CPU thread of the worker. Default: no bound.
    """

    max_kb: float | None = None
    max_ms: float | None = None


Architecture: TypeAlias = Mlp | Cnn | Resnet | Mobilenet | Bag | TextEncoder | Layers | Auto
