"""What a model file says of itself, as far as a job that names it must know. Kept with its data set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelTensor:
    """One input, output or parameter.

    Attributes:
        name: in the file.
        dtype: numpy's name, such as ``float32``; ``string``; or the kind of a value that is no tensor.
        shape: sizes of the axes, None for one that may change; None altogether where the file does not tell.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class OnnxSignature:
    """Inputs that a caller must give (initializers are none), outputs, and the version of the standard operators."""

    inputs: tuple[ModelTensor, ...]
    outputs: tuple[ModelTensor, ...]
    opset: int


# These count positions from the padding piece on, so so many of the positions are never used.
_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "mpnet")


@dataclass(frozen=True)
class TransformerSignature:
    """What a text encoder is.

    Attributes:
        family: its ``model_type``, such as ``bert``.
        embedding_rows: word pieces that the model has a vector for.
        vocabulary_size: largest word piece that the tokenizer gives, plus 1; at most ``embedding_rows``.
        max_tokens: longest input by the model's configuration; 0 where it does not say.
    """

    family: str
    embedding_rows: int
    vocabulary_size: int
    max_tokens: int

    @property
    def longest_text(self) -> int | None:
        """Word pieces of a text that it reads; None where it does not say."""
        offset = 2 if self.family in _OFFSET_FAMILIES else 0
        return self.max_tokens - offset if self.max_tokens else None


@dataclass(frozen=True)
class SafetensorsSignature:
    """The parameters in a safetensors file, by name."""

    tensors: tuple[ModelTensor, ...]


ModelSignature = OnnxSignature | TransformerSignature | SafetensorsSignature
