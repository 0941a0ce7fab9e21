"""What a caller of the exported student must send and will get, said the same way in the file and in the manifest."""

from __future__ import annotations

import numpy as np

from kdaif.datasets import InputSignature
from kdaif.datasets.pictures import FORMATS, RESIZE_FILTER

INPUT_NAME = "input"
OUTPUT_NAMES = ("logits", "probabilities")
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
