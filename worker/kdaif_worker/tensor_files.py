"""Safetensors files of arrays that may be larger than memory: written and read in runs, under a hash of all bytes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kdaif.scratch import Scratch

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# As the format's own reader bounds it.
_MOST_HEADER_BYTES = 100_000_000
_ALIGNMENT = 8
# The file's hash stands in its own header, and is taken with zeros in its place. So the file stays plain safetensors.
_HASH_FIELD = b'"sha256":"'
_NO_HASH = b"0" * 64


def write_tensors(
    file: IO[bytes], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], scratch: Scratch
) -> None:
    """Writes the arrays, and leaves the file at its beginning.

    Args:
        file: empty, to be written and read anywhere.
        arrays: by name; contiguous.
        metadata: texts by name; none of them "sha256".
        scratch: of the arrays.

    Raises:
        OSError: the disk is full.
    """
    # The widest values first, so that each array begins at a multiple of its values' width.
    ordered = sorted(arrays.items(), key=lambda named: (-named[1].itemsize, named[0]))
    entries: dict[str, Any] = {"__metadata__": {**metadata, "sha256": _NO_HASH.decode()}}
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype]
        entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    head = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(head)
    file.write(head)
    for _, array in ordered:
        for run in _runs(array, scratch):
            digest.update(run)
            file.write(run)
    file.seek(_hash_place(head))
    file.write(digest.hexdigest().encode())
    file.seek(0)


def read_tensors(
    chunks: Iterator[bytes], size: int, scratch: Scratch, *, hashed: bool = True
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays and the metadata of a file of `write_tensors`.

    Args:
        chunks: the bytes of the file, in order.
        size: how many they are.
        scratch: where large arrays go.
        hashed: False takes files without a hash too, as they were written before there was one.

    Raises:
        ValueError: the file is damaged or is none of these.
        UnavailableError: the disk has no room.
    """
    source = _Source(chunks)
    start = source.read(8)
    length = int.from_bytes(start, "little")
    if length > min(_MOST_HEADER_BYTES, size - 8):
        raise ValueError(f"its header would have {length} bytes, of a file of {size}")
    head = start + source.read(length)
    unchecked = not hashed and _HASH_FIELD not in head
    place = 0 if unchecked else _hash_place(head)
    digest = hashlib.sha256(head[:place] + _NO_HASH + head[place + len(_NO_HASH) :])
    entries, metadata = _parsed(head[8:], size - 8 - length)
    arrays = {name: scratch.empty(shape, dtype) for name, (dtype, shape) in entries.items()}
    for array in arrays.values():
        for run in _runs(array, scratch):
            source.read_into(run)
            digest.update(run)
    source.expect_end()
    if not unchecked and head[place : place + len(_NO_HASH)] != digest.hexdigest().encode():
        raise ValueError("its bytes do not match its hash")
    return arrays, metadata


def _parsed(header: bytes, held: int) -> tuple[dict[str, tuple[np.dtype[Any], tuple[int, ...]]], dict[str, str]]:
    """Type and shape by name, in the order in which the arrays lie in the file, and the metadata."""
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__", {})
        found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        end = 0
        for name, entry in sorted(entries.items(), key=lambda named: tuple(named[1]["data_offsets"])):
            dtype: np.dtype[Any] = _DTYPES[entry["dtype"]]
            shape = tuple(int(axis) for axis in entry["shape"])
            start, end_before, end = entry["data_offsets"][0], end, entry["data_offsets"][1]
            if start != end_before or end - start != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
                raise ValueError(f"array {name!r} is not where its header says")
            found[name] = (dtype, shape)
    except (KeyError, TypeError, AttributeError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"its header is no safetensors header: {error!r}") from error
    if end != held:
        raise ValueError(f"it holds {held} bytes of arrays, and its header says {end}")
    return found, metadata


def _hash_place(head: bytes) -> int:
    """Where the hash stands. Quotes within other texts of the header are escaped, so nothing else looks like it."""
    place = head.find(_HASH_FIELD)
    if place < 0:
        raise ValueError("there is no hash in it")
    return place + len(_HASH_FIELD)


def _runs(array: NDArray[Any], scratch: Scratch) -> Iterator[memoryview]:
    """The bytes of an array, some 16 MB at a time, not copied."""
    values = array.reshape(-1)
    for rows in scratch.slabs(len(values), array.itemsize):
        yield values[rows].view(np.uint8).data


class _Source:
    """Bytes that come in chunks of any size, asked for in pieces of another."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, count: int) -> bytes:
        """So many bytes. Raises ValueError where they end too early."""
        data = bytearray(count)
        self.read_into(memoryview(data))
        return bytes(data)

    def read_into(self, room: memoryview) -> None:
        """Fills the room. Raises ValueError where the bytes end too early."""
        while room:
            if not self._left:
                chunk = next(self._chunks, None)
                if chunk is None:
                    raise ValueError("it ends too early")
                self._left = memoryview(chunk)
            taken = min(len(room), len(self._left))
            room[:taken] = self._left[:taken]
            room, self._left = room[taken:], self._left[taken:]

    def expect_end(self) -> None:
        """Raises ValueError where there are bytes left."""
        if self._left or any(self._chunks):
            raise ValueError("there are bytes after its end")
