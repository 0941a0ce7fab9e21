"""What a model said, so that it need not be asked twice. Where it is kept is the caller's business."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import Strings
from kdaif.scratch import Scratch

Remember = Callable[[str, Callable[[], NDArray[np.float32]]], NDArray[np.float32]]
"""Gives what is kept under a key, or else makes it, keeps it and gives it."""


def always_make(key: str, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Keeps nothing."""
    return make()


def output_key(
    model: Path, rows: Iterable[NDArray[Any] | Strings], options: Mapping[str, Any], scratch: Scratch | None = None
) -> str:
    """SHA-256, in hexadecimal, of all that decides what a model says.

    Args:
        model: its file.
        rows: the inputs, part by part; arrays of numbers, or texts.
        options: how it is asked; JSON values.
        scratch: of the rows; None where they are in memory.
    """
    room = Scratch() if scratch is None else scratch
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    with model.open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    for part in rows:
        if isinstance(part, Strings) or part.dtype == object:
            digest.update(b"[")
            for place, text in enumerate(part):
                digest.update(f"{', ' if place else ''}{json.dumps(text)}".encode())
            digest.update(b"]")
        else:
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            for some in room.slabs(len(part), part[:1].nbytes):
                digest.update(np.ascontiguousarray(part[some]).data)
    return digest.hexdigest()
