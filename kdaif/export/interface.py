"""What a caller of the exported student must send and will get, said the same way in the file and in the manifest."""

from __future__ import annotations

import numpy as np

from kdaif.datasets import InputSignature

INPUT_NAME = "input"
OUTPUT_NAMES = ("logits", "probabilities")
BATCH_SYMBOL = "batch"


def input_dtype(signature: InputSignature) -> np.dtype[np.generic]:
    """The dtype of raw rows: uint8 for images, float32 for numbers."""
    return np.dtype(np.uint8 if signature.kind == "image" else np.float32)


def input_spec(signature: InputSignature) -> dict[str, object]:
    """Name, dtype, shape and meaning of the one input, ready for JSON.

    Args:
        signature: of the student.

    Returns:
        ``name``, ``kind``, ``dtype``, ``shape`` (its first axis is the symbol "batch"), ``columns`` in input order, and
        ``layout`` ("NHWC", values 0 to 255) for images, else None.
    """
    return {
        "name": INPUT_NAME,
        "kind": signature.kind,
        "dtype": input_dtype(signature).name,
        "shape": [BATCH_SYMBOL, *signature.shape],
        "columns": list(signature.columns),
        "layout": "NHWC" if signature.kind == "image" else None,
    }
