"""Safetensors files, known by their header: its length in 8 bytes, then JSON. No tensor is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdaif.errors import InvalidInputError
from kdaif.records import ModelTensor, SafetensorsSignature

# Of some ten thousand tensors; the largest student has a few hundred.
_MOST_HEADER_BYTES = 1 << 20
_DTYPES = {"BF16": "bfloat16", "BOOL": "bool", "F": "float", "I": "int", "U": "uint"}


def inspect_safetensors(path: Path) -> SafetensorsSignature:
    """Names, types and shapes of the tensors.

    Raises:
        InvalidInputError: no safetensors file, or its tensors are not what the file holds.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise _refused(f"its header would have {length} bytes, of a file of {size}")
        if length > _MOST_HEADER_BYTES:
            raise _refused(f"its header has {length} bytes, over {_MOST_HEADER_BYTES}")
        header = _parsed(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    held = size - 8 - length
    try:
        spans = sorted(tuple(entry["data_offsets"]) for entry in tensors.values())
        ends = [0, *(end for _, end in spans)]
        fits = ends[-1] == held and all(start == before for (start, _), before in zip(spans, ends, strict=False))
        found = tuple(_tensor(name, entry) for name, entry in sorted(tensors.items()))
    except (TypeError, KeyError, ValueError, AttributeError):
        fits = False
    if not tensors or not fits:
        raise _refused(f"its header does not describe the {held} bytes after it")
    return SafetensorsSignature(found)


def _tensor(name: str, entry: dict[str, Any]) -> ModelTensor:
    dtype = str(entry["dtype"])
    kind = dtype.rstrip("0123456789")
    numpy_name = _DTYPES.get(dtype) or _DTYPES.get(kind, dtype) + dtype[len(kind) :]
    return ModelTensor(name, numpy_name, tuple(int(size) for size in entry["shape"]))


def _parsed(header: bytes) -> dict[str, Any]:
    try:
        document = json.loads(header)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _refused("its header is no JSON object")
    return document


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError.of(
        "dataset", f"no readable safetensors file: {why}; write it again with safetensors.torch.save_file and re-upload"
    )
