"""Made-up rows of every kind, in ten classes that a small network learns in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from kdaif.datasets import InputSignature

CLASSES = tuple("abcdefghij")
_PIECES, _TOKENS = 4000, 64
_TYPICAL_PIECES = 200  # of a class
_TYPICAL_SHARE = 0.15  # of the pieces of a row


def _tokenizer() -> str:
    padding, unknown = "[PAD]", "[UNK]"
    vocabulary = {piece: place for place, piece in enumerate([padding, unknown, *map(str, range(_PIECES - 2))])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token=padding, length=_TOKENS)
    return str(tokenizer.to_str())


SIGNATURES: Mapping[str, InputSignature] = {
    "numeric": InputSignature("numeric", (64,), tuple(f"column_{place}" for place in range(64))),
    "image": InputSignature("image", (32, 32, 3), ("image",)),
    "text": InputSignature("text", (_TOKENS,), ("text",), tokenizer=_tokenizer()),
}


def rows_of(signature: InputSignature, n_rows: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Raw rows and the codes of their classes, the same classes whatever the seed."""
    generator = np.random.default_rng((seed, 7))
    codes = generator.integers(0, len(CLASSES), n_rows)
    typical = np.random.default_rng(0)
    match signature.kind:
        case "numeric":
            centres = typical.normal(size=(len(CLASSES), *signature.shape))
            values = centres[codes] + 1.5 * generator.normal(size=(n_rows, *signature.shape))
            return (50 + 9 * values).astype(np.float32), codes
        case "image":
            # Coarse patches, so that convolutions see more than noise.
            patches = typical.normal(size=(len(CLASSES), 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
            pixels = 128 + 20 * patches[codes] + 40 * generator.normal(size=(n_rows, *signature.shape))
            return pixels.clip(0, 255).astype(np.uint8), codes
        case "text":
            ids = generator.integers(2, _PIECES, (n_rows, _TOKENS))
            own = 2 + codes[:, None] * _TYPICAL_PIECES + generator.integers(0, _TYPICAL_PIECES, ids.shape)
            ids = np.where(generator.random(ids.shape) < _TYPICAL_SHARE, own, ids)
            ids[np.arange(_TOKENS) >= generator.integers(8, _TOKENS + 1, n_rows)[:, None]] = 0
            return ids.astype(np.int32), codes
