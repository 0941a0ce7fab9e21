"""Rows and signatures of every kind, and every architecture that takes them, each as small as it can be."""

from __future__ import annotations

from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from kdaif.datasets import InputSignature
from kdaif.records import (
    Activation,
    Bag,
    BatchNorm,
    Cnn,
    Conv,
    Dropout,
    Layers,
    Linear,
    Mlp,
    Mobilenet,
    Network,
    Pool,
    Resnet,
    TextEncoder,
)

WORDS = ("red", "green", "blue", "old", "new", "car", "boat", "bike")
MAX_TOKENS = 6


def tokenizer_json() -> str:
    vocabulary = {piece: place for place, piece in enumerate(("[PAD]", "[UNK]", *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=MAX_TOKENS)
    return str(tokenizer.to_str())


NUMERIC = InputSignature("numeric", (3,), ("age", "height", "weight"))
IMAGE = InputSignature("image", (9, 8, 2), ("image",))
TEXT = InputSignature("text", (MAX_TOKENS,), ("text",), tokenizer=tokenizer_json())
# A number that may be null, a category that may be, a plain number and a plain category.
TABLE = InputSignature(
    "numeric",
    (4,),
    ("age", "colour", "height", "size"),
    categories=((), ("red", "green", "blue"), (), ("1", "2")),
    nullable=(True, True, False, False),
)
SIGNATURES = {"numeric": NUMERIC, "table": TABLE, "image": IMAGE, "text": TEXT}

OWN_PICTURE = Layers(
    layers=(
        Conv(channels=3, kernel_size=5, stride=2),
        BatchNorm(),
        Activation(function="gelu"),
        Pool(function="mean"),
        Conv(channels=4),
        Pool(size=2),
        Linear(width=5),
        BatchNorm(),
        Activation(function="silu"),
        Dropout(share=0.3),
    )
)
OWN_VECTOR = Layers(layers=(BatchNorm(), Linear(width=5), Activation(), Dropout(share=0.3)))

ARCHITECTURES: dict[str, tuple[Network, InputSignature]] = {
    "mlp": (Mlp(hidden_sizes=(6, 5), dropout=0.2), NUMERIC),
    "mlp-table": (Mlp(hidden_sizes=(6,)), TABLE),
    "mlp-image": (Mlp(hidden_sizes=(6,)), IMAGE),
    "layers": (OWN_VECTOR, NUMERIC),
    "layers-table": (OWN_VECTOR, TABLE),
    "layers-image": (OWN_PICTURE, IMAGE),
    "layers-picture-at-the-end": (Layers(layers=(Conv(channels=3), Pool(size=3))), IMAGE),
    "cnn": (Cnn(channels=(3, 4), hidden_size=5, dropout=0.2), IMAGE),
    "resnet": (Resnet(channels=(4, 6), blocks_per_stage=2, dropout=0.2), IMAGE),
    "mobilenet": (Mobilenet(channels=(4, 4, 6), expansion=2, dropout=0.2), IMAGE),
    "bag": (Bag(embedding_size=6, pair_buckets=11), TEXT),
    "bag-without-pairs": (Bag(embedding_size=6, pair_buckets=0), TEXT),
    "bag-hidden": (Bag(embedding_size=6, pair_buckets=2048, hidden_sizes=(5,), dropout=0.2), TEXT),
    "text-encoder": (TextEncoder(width=8, heads=2, depth=2, dropout=0.2), TEXT),
}


def rows_of(signature: InputSignature, n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random raw rows; of a table with nulls and unknown values, of text of every length from none to all."""
    generator = np.random.default_rng(seed)
    if signature.kind == "image":
        return generator.integers(0, 256, (n, *signature.shape), dtype=np.uint8)
    if signature.kind == "text":
        ids = generator.integers(1, len(WORDS) + 2, (n, MAX_TOKENS)).astype(np.int32)
        ids[np.arange(MAX_TOKENS) >= (np.arange(n) % (MAX_TOKENS + 1))[:, None]] = 0
        return ids
    rows = generator.normal(50, 9, (n, signature.shape[0])).astype(np.float32)
    for place, names in enumerate(signature.categories):
        if names:
            rows[:, place] = generator.integers(0, len(names) + 1, n)
    if any(signature.nullable):
        rows[generator.random(n) < 0.3, 0] = np.nan
    return rows
