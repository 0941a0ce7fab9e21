"""Safetensors files, known by their header: its length in 8 bytes, then JSON. No tensor is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdaif.errors import InvalidInputError

# As the format's own reader bounds it.
_MOST_HEADER_BYTES = 100_000_000


def inspect_safetensors(path: Path) -> tuple[str, ...]:
    """The names of the tensors.

    Raises:
        InvalidInputError: no safetensors file, or its tensors are not what the file holds.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MOST_HEADER_BYTES, size - 8):
            raise _refused(f"its header would have {length} bytes, of a file of {size}")
        header = _parsed(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    held = size - 8 - length
    try:
        spans = sorted(tuple(entry["data_offsets"]) for entry in tensors.values())
        ends = [0, *(end for _, end in spans)]
        fits = ends[-1] == held and all(start == before for (start, _), before in zip(spans, ends, strict=False))
    except (TypeError, KeyError, ValueError):
        fits = False
    if not tensors or not fits:
        raise _refused(f"its header does not describe the {held} bytes after it")
    return tuple(sorted(tensors))


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
