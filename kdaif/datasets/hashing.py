"""Rows by content: equal inputs have equal hashes, whatever their ids."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray


def content_hashes(features: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash of the bytes of each row.

    Args:
        features: [N, ...] float32 or uint8, or object [N] of texts or of encoded pictures. 0.0 and -0.0 count as
            equal, and NaN as NaN.

    Returns:
        uint64 [N]. One million rows of 64 floats take about a second; two different rows among a million share a
        hash with a probability of 3e-8.
    """
    if not len(features):
        return np.empty(0, dtype=np.uint64)
    if features.dtype == object:
        contents = (value.encode() if isinstance(value, str) else value for value in features)
        return _hashes(blake2b(content, digest_size=8).digest() for content in contents)
    contiguous = np.ascontiguousarray(features)
    if contiguous.dtype == np.float32:
        contiguous = contiguous + np.float32(0)
        contiguous[np.isnan(contiguous)] = np.nan  # of the many NaN, one
    row_bytes = contiguous[0].nbytes
    stream = contiguous.reshape(-1).view(np.uint8).data
    return _hashes(
        blake2b(stream[start : start + row_bytes], digest_size=8).digest() for start in range(0, len(stream), row_bytes)
    )


def _hashes(digests: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def scrambled(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """uint64 [N]: another order of the same hashes for each seed (the mixing step of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = hashes + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
