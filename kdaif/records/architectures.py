"""Networks as they are declared: layers, widths and presets. No code travels."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from kdaif.records.base import SpecModel

Width = Annotated[int, Field(ge=1, le=8192)]
DropoutShare = Annotated[float, Field(ge=0.0, le=0.9)]


class Mlp(SpecModel):
    """Multilayer perceptron over the flattened, standardised features; categories are embedded first."""

    kind: Literal["mlp"] = "mlp"
    hidden_sizes: tuple[Width, ...] = Field(default=(64,), min_length=1, max_length=16)
    dropout: DropoutShare = 0.0


class Cnn(SpecModel):
    """Blocks of 3 x 3 convolution, BatchNorm, ReLU and halving, then one hidden layer. For images."""

    kind: Literal["cnn"] = "cnn"
    channels: tuple[Width, ...] = Field(default=(16, 32), min_length=1, max_length=8)
    hidden_size: Width = 64
    dropout: DropoutShare = 0.0


class Resnet(SpecModel):
    """Residual blocks (He et al. 2016) in stages, each after the first half as large. For images."""

    kind: Literal["resnet"] = "resnet"
    channels: tuple[Width, ...] = Field(default=(16, 32, 64), min_length=1, max_length=8)
    blocks_per_stage: int = Field(default=1, ge=1, le=32)
    dropout: DropoutShare = 0.0


class Mobilenet(SpecModel):
    """Inverted residuals of depthwise convolutions (Sandler et al. 2018). For images."""

    kind: Literal["mobilenet"] = "mobilenet"
    channels: tuple[Width, ...] = Field(default=(16, 24, 32, 64), min_length=1, max_length=16)
    expansion: int = Field(default=4, ge=1, le=16)
    dropout: DropoutShare = 0.0


class Bag(SpecModel):
    """Masked mean of the embeddings of word pieces and of hashed pairs of them (Joulin et al. 2017). For text."""

    kind: Literal["bag"] = "bag"
    embedding_size: Width = 64
    pair_buckets: int = Field(default=2048, ge=0, le=10_000_000)
    hidden_sizes: tuple[Width, ...] = Field(default=(), max_length=16)
    dropout: DropoutShare = 0.0


class TextEncoder(SpecModel):
    """Transformer encoder over word pieces, each block normalised before it (Xiong et al. 2020). For text."""

    kind: Literal["text_encoder"] = "text_encoder"
    width: Width = 64
    heads: int = Field(default=4, ge=1, le=64)
    depth: int = Field(default=2, ge=1, le=24)
    dropout: DropoutShare = 0.1

    @model_validator(mode="after")
    def _heads_divide(self) -> TextEncoder:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Linear(SpecModel):
    """Fully connected; what comes before is flattened."""

    kind: Literal["linear"] = "linear"
    width: Width


class Conv(SpecModel):
    """Convolution that keeps height and width at stride 1."""

    kind: Literal["conv"] = "conv"
    channels: Width
    kernel_size: int = Field(default=3, ge=1, le=15)
    stride: int = Field(default=1, ge=1, le=8)

    @model_validator(mode="after")
    def _odd_kernel(self) -> Conv:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} is even; with an odd one the picture keeps its size")
        return self


class BatchNorm(SpecModel):
    """Over the channels, or over the features after a linear layer."""

    kind: Literal["batch_norm"] = "batch_norm"


class Activation(SpecModel):
    """Element by element."""

    kind: Literal["activation"] = "activation"
    function: Literal["relu", "gelu", "silu"] = "relu"


class Pool(SpecModel):
    """Over squares of the picture, which shrinks by ``size``."""

    kind: Literal["pool"] = "pool"
    function: Literal["max", "mean"] = "max"
    size: int = Field(default=2, ge=2, le=64)


class Dropout(SpecModel):
    """In training alone."""

    kind: Literal["dropout"] = "dropout"
    share: float = Field(gt=0.0, le=0.9)


Layer = Annotated[Linear | Conv | BatchNorm | Activation | Pool | Dropout, Field(discriminator="kind")]


class Layers(SpecModel):
    """A list of layers of one's own, before the output layer."""

    kind: Literal["layers"] = "layers"
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=64)


class Auto(SpecModel):
    """The largest of the other kinds that fits the data and the budget; a small one where there is no budget."""

    kind: Literal["auto"] = "auto"
    max_kb: float | None = Field(default=None, gt=0.0)
    max_ms: float | None = Field(default=None, gt=0.0)


Network = Mlp | Cnn | Resnet | Mobilenet | Bag | TextEncoder | Layers
Architecture = Annotated[Network | Auto, Field(discriminator="kind")]

InputKind: TypeAlias = Literal["numeric", "image", "text"]

_FITS: dict[str, tuple[type[SpecModel], ...]] = {
    "numeric": (Mlp, Layers),
    "image": (Mlp, Cnn, Resnet, Mobilenet, Layers),
    "text": (Bag, TextEncoder),
}
_CALLED = {"numeric": "columns of numbers and categories", "image": "images", "text": "text"}
# The last linear layer's curvature is taken apart whole, a matrix of so many rows and columns.
_MOST_FEATURES = 8192


def misfits(architecture: Architecture, kind: InputKind, shape: tuple[int, ...]) -> dict[str, str]:
    """Why a network cannot take such rows, and what to do, by where in it: "" is the network itself.

    Args:
        architecture: `Auto` fits everything.
        kind: of the rows.
        shape: of one raw row: `(D,)`, `(H, W, C)` or `(max_tokens,)`.

    Returns:
        Empty where it fits, else one entry, such as ".layers.layers[2]": "...".
    """
    if isinstance(architecture, Auto):
        return {}
    if not isinstance(architecture, _FITS[kind]):
        allowed = ", ".join(str(each.model_fields["kind"].default) for each in _FITS[kind])
        why = f"{architecture.kind!r} is not for {_CALLED[kind]}, which the data are; use one of {allowed}"
        return {"": why}
    if isinstance(architecture, Layers):
        return _layer_misfits(architecture, (shape[2], *shape[:2]) if kind == "image" else shape)
    return {}


def _layer_misfits(architecture: Layers, shape: tuple[int, ...]) -> dict[str, str]:
    """Follows the shape of one input, `(C, H, W)` or `(D,)`, through the layers to the first that cannot take it."""
    for place, layer in enumerate(architecture.layers):
        field = f".layers.layers[{place}]"
        if isinstance(layer, Conv | Pool) and len(shape) == 1:
            why = f"{layer.kind!r} needs a picture, and gets {shape[0]} features in a row"
            return {field: f"{why}; put it before the first linear layer, and only where the data are images"}
        match layer:
            case Linear():
                shape = (layer.width,)
            case Conv():
                shape = (layer.channels, *((side - 1) // layer.stride + 1 for side in shape[1:]))
            case Pool():
                if layer.size > min(shape[1:]):
                    why = f"pools squares of {layer.size}, and its picture is {shape[1]} x {shape[2]}"
                    return {field: f"{why}; make size smaller or pool less before"}
                shape = (shape[0], *(side // layer.size for side in shape[1:]))
    if math.prod(shape) > _MOST_FEATURES and len(shape) > 1:
        why = f"the layers end in {math.prod(shape)} features, and {_MOST_FEATURES} is the most"
        return {".layers.layers": f"{why}; pool more, or end with a linear layer"}
    return {}
