"""What a caller of the exported student must send and will get, said the same way in the file and in the manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import InputSignature
from kdaif.datasets.pictures import FORMATS, RESIZE_FILTER
from kdaif.students import vocabulary_size

INPUT_NAME = "input"
FEATURES_NAME = "features"
# What is asked of a row first of all, in the order of every caller that asks for both.
ANSWER_NAMES = ("logits", "probabilities")
OUTPUT_NAMES = (*ANSWER_NAMES, FEATURES_NAME)
BATCH_SYMBOL = "batch"
TOKENIZER_NAME = "tokenizer.json"


def input_dtype(signature: InputSignature) -> np.dtype[np.generic]:
    """The dtype of raw rows: uint8 for images, float32 for numbers and codes, int32 for word pieces."""
    return np.dtype({"image": np.uint8, "numeric": np.float32, "text": np.int32}[signature.kind])


def input_spec(signature: InputSignature, *, scaled: bool = False) -> dict[str, object]:
    """Name, dtype, shape and meaning of the one input, ready for JSON.

    Args:
        signature: of the student.
        scaled: whether pictures of other sizes were scaled in training.

    Returns:
        ``name``, ``kind``, ``dtype``, ``shape`` (its first axis is the symbol "batch"), ``columns`` in input order, and
        ``layout`` ("NHWC", values 0 to 255) for images, else None. For images of one or three channels also
        ``pictures``, how an encoded one becomes such a row: its ``formats`` and ``mode`` as Pillow calls them, and
        ``resize``, Pillow's filter for one of another size, None where there was none in training. For tables that have
        them also ``categories``, names by column, the code of each being its position plus 1 and 0 that of all others,
        and ``nullable``, the columns where a null is a value: NaN among numbers, code 0 among categories. For text also
        ``tokenizer``, the file that makes ids of texts, and ``padding``, the id that fills a short one up.
    """
    return {
        "name": INPUT_NAME,
        "kind": signature.kind,
        "dtype": input_dtype(signature).name,
        "shape": [BATCH_SYMBOL, *signature.shape],
        "columns": list(signature.columns),
        "layout": "NHWC" if signature.kind == "image" else None,
        **_of_kind(signature, scaled),
    }


def input_range(signature: InputSignature, value_ranges: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """What values a caller may send, ready for JSON.

    Args:
        signature: of the student.
        value_ranges: of `value_ranges`.

    Returns:
        ``range``, smallest and largest value that the input takes: 0 to 255, the ids of the tokenizer, or any finite
        number of float32. For tables also ``seen``, `value_ranges`: further out the student has seen nothing.
    """
    match signature.kind:
        case "image":
            return {"range": [0, 255]}
        case "text":
            return {"range": [0, vocabulary_size(signature.tokenizer) - 1]}
        case "numeric":
            largest = float(np.finfo(np.float32).max)
            seen = {name: list(bounds) for name, bounds in value_ranges.items()}
            return {"range": [-largest, largest], **({"seen": seen} if seen else {})}


def output_shapes(n_classes: int, n_features: int) -> dict[str, list[int | str]]:
    """Shape of each output, ready for JSON; the first axis is the symbol "batch"."""
    widths = (n_classes, n_classes, n_features)
    return {name: [BATCH_SYMBOL, width] for name, width in zip(OUTPUT_NAMES, widths, strict=True)}


def value_ranges(signature: InputSignature, parts: Iterable[NDArray[np.generic]]) -> dict[str, list[float]]:
    """Smallest and largest value of each column of numbers, over parts `[N, D]` of the rows; empty for images and text.

    A list column has one range over all its values; a column that is all null has none.
    """
    if signature.kind != "numeric":
        return {}
    width = signature.shape[0]
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for rows in parts:
        low = np.fmin(low, np.fmin.reduce(rows, axis=0, initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(rows, axis=0, initial=-np.inf))
    columns = signature.columns if len(signature.columns) == width else signature.columns * width
    categories = signature.categories or ((),) * width
    found: dict[str, list[float]] = {}
    for place, (name, known) in enumerate(zip(columns, categories, strict=True)):
        if not known and low[place] <= high[place]:
            before = found.get(name, [math.inf, -math.inf])
            found[name] = [min(before[0], float(low[place])), max(before[1], float(high[place]))]
    return found


def _of_kind(signature: InputSignature, scaled: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    if any(signature.categories):
        named = zip(signature.columns, signature.categories, strict=True)
        found["categories"] = {column: list(names) for column, names in named if names}
    if any(signature.nullable):
        found["nullable"] = [name for name, null in zip(signature.columns, signature.nullable, strict=True) if null]
    mode = {1: "L", 3: "RGB"}.get(signature.shape[-1])
    if signature.kind == "image" and mode is not None:
        found["pictures"] = {"formats": list(FORMATS), "mode": mode, "resize": RESIZE_FILTER if scaled else None}
    if signature.kind == "text":
        found |= {"tokenizer": TOKENIZER_NAME, "padding": 0}
    return found
