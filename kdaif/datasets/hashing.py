"""Rows by content: equal inputs have equal hashes, whatever their ids."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_RUN_ROWS = 65_536


def content_hashes(features: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash of the bytes of each row.

    Args:
        features: [N, ...] float32, int32 or uint8. 0.0 and -0.0 count as equal, and NaN as NaN.

    Returns:
        uint64 [N]. One million rows of 64 floats take about a second. Two different rows share a hash with a
        probability of 3e-8 among a million, of 3e-6 among ten million.
    """
    if not len(features):
        return np.empty(0, dtype=np.uint64)
    contiguous = np.ascontiguousarray(features)
    if contiguous.dtype == np.float32:
        contiguous = contiguous + np.float32(0)
        contiguous[np.isnan(contiguous)] = np.nan  # of the many NaN, one
    row_bytes = contiguous[0].nbytes
    stream = contiguous.reshape(-1).view(np.uint8).data
    return _hashes(
        blake2b(stream[start : start + row_bytes], digest_size=8).digest() for start in range(0, len(stream), row_bytes)
    )


def text_hashes(texts: pa.Array) -> NDArray[np.uint64]:
    """uint64 [N]: hash of each text or run of bytes, a null being empty.

    Args:
        texts: [N] of type string, large string, binary or large binary.
    """
    if not len(texts):
        return np.empty(0, dtype=np.uint64)
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    stream = memoryview(data if data is not None else b"")
    return _hashes(blake2b(stream[start:end], digest_size=8).digest() for start, end in pairwise(ends))


def _hashes(digests: Iterable[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def is_among(hashes: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Bool [N]: which of N hashes or ids are among the M ``known``, which are sorted."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    for start in range(0, len(hashes) if len(known) else 0, _RUN_ROWS):
        run = hashes[start : start + _RUN_ROWS]
        at = np.minimum(np.searchsorted(known, run), len(known) - 1)
        found[start : start + _RUN_ROWS] = known[at] == run
    return found


def scrambled(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """uint64 [N]: another order of the same hashes for each seed (the mixing step of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = hashes + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
