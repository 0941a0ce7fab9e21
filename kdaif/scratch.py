"""Arrays that may be larger than memory: on a local disk, mapped, and seen as numpy arrays."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kdaif.errors import UnavailableError

MOST_IN_MEMORY_BYTES = 16 * 2**20
"""An array up to this size is an ordinary one: small beside a process with torch, even a dozen of them."""

SLAB_BYTES = 16 * 2**20
"""What is worked on at a time."""

# Rows up to this width are taken through the mapping: all of such an array may become resident, one by one they cost
# a system call each.
_NARROW_BYTES = 8
_ROWS_READ_AT_ONCE = 4096


@dataclass(frozen=True)
class _File:
    """The file behind a mapping: the address where it is mapped, its length, and a descriptor of it."""

    address: int
    size: int
    descriptor: int


class Scratch:
    """Makes arrays, large ones in unnamed files of a folder, which are gone with the process however it ends.

    What a process touched of a mapped file counts as its resident memory until the kernel takes it back. `release` lets
    go of it at once: the values stay, in the page cache or on the disk, and are mapped again where they are used.

    Args:
        folder: on a local disk with room for all large arrays; None keeps every array in memory.
        most_in_memory_bytes: up to which an array stays in memory.
    """

    def __init__(self, folder: Path | None = None, *, most_in_memory_bytes: int = MOST_IN_MEMORY_BYTES) -> None:
        self._folder = folder
        self._most_in_memory_bytes = most_in_memory_bytes
        self._maps: weakref.WeakKeyDictionary[mmap.mmap, _File] = weakref.WeakKeyDictionary()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any values; one on the disk holds zeros.

        Raises:
            UnavailableError: the disk has no room for it.
        """
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if self._folder is None or size <= self._most_in_memory_bytes or kind.hasobject:
            return np.empty(shape, kind)
        return np.frombuffer(self._mapped(self._folder, size), kind).reshape(shape)

    def _mapped(self, folder: Path, size: int) -> mmap.mmap:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                # Without its room taken now, a full disk would later end the process by SIGBUS.
                os.posix_fallocate(file.fileno(), 0, size)
                mapped = mmap.mmap(file.fileno(), size)
                descriptor = os.dup(file.fileno())
        except OSError as error:
            raise UnavailableError(
                f"no room for {size:,} bytes of scratch in {folder} ({error.strerror or error}); free some, or put the "
                "cache on a larger disk"
            ) from error
        weakref.finalize(mapped, os.close, descriptor)
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        self._maps[mapped] = _File(address, size, descriptor)
        return mapped

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of zeros. Raises as `empty`."""
        found = self.empty(shape, dtype)
        if self._file_of(found) is None:
            found.fill(0)
        return found

    def take(self, array: NDArray[Any], rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """A copy of some rows, in any order: ``array[rows]``, without what lies around them.

        Through the mapping a single row makes as much resident as the kernel maps at a time, up to 2 MB on either
        side; a batch of random rows would bring in all of the array. So wide rows are read from the file.

        Args:
            array: ``[N, ...]``, of this scratch or any other.
            rows: ``[M]``, from 0 to N - 1.
        """
        file, width = self._file_of(array), _row_bytes(array)
        if file is None or width <= _NARROW_BYTES:
            some: NDArray[Any] = array[rows]
            return some
        start, descriptor, read = array.ctypes.data - file.address, file.descriptor, os.pread
        found: NDArray[Any] = np.empty((len(rows), *array.shape[1:]), array.dtype)
        data = found.reshape(-1).view(np.uint8).data
        # Some at a time: a row that was read is an object of its own, until it is put in its place.
        for first in range(0, len(rows), _ROWS_READ_AT_ONCE):
            some = rows[first : first + _ROWS_READ_AT_ONCE].tolist()
            read_rows = b"".join([read(descriptor, width, start + row * width) for row in some])
            data[first * width : (first + len(some)) * width] = read_rows
        return found

    def put(self, array: NDArray[Any], rows: NDArray[np.integer[Any]], values: NDArray[Any]) -> None:
        """``array[rows] = values``, as `take` takes them.

        Raises:
            UnavailableError: the disk fails.
        """
        file, width = self._file_of(array), _row_bytes(array)
        if file is None or width <= _NARROW_BYTES:
            array[rows] = values
            return
        start, descriptor, write = array.ctypes.data - file.address, file.descriptor, os.pwrite
        data = np.ascontiguousarray(values, array.dtype).tobytes()
        try:
            for place, row in enumerate(rows.tolist()):
                write(descriptor, data[place * width : (place + 1) * width], start + row * width)
        except OSError as error:
            raise UnavailableError(
                f"could not write to scratch ({error.strerror or error}); look at its disk"
            ) from error

    def _file_of(self, array: NDArray[Any]) -> _File | None:
        """What is mapped where the rows of the array lie, one after the other; None where it is an ordinary one."""
        if not self._maps or not array.flags.c_contiguous:
            return None
        address = array.ctypes.data
        found = (file for file in self._maps.values() if file.address <= address < file.address + file.size)
        return next(found, None)

    def spooled(self) -> IO[bytes]:
        """A temporary file: in memory while it is small, then without a name in the folder. Close it, or use `with`."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        folder = None if self._folder is None else str(self._folder)
        spooled: Any = tempfile.SpooledTemporaryFile(self._most_in_memory_bytes, dir=folder)  # noqa: SIM115
        file: IO[bytes] = spooled
        return file

    def release(self) -> None:
        """Lets go of the memory behind the arrays on the disk."""
        for mapped in list(self._maps):
            mapped.madvise(mmap.MADV_DONTNEED)

    def slabs(self, n_rows: int, row_bytes: int) -> Iterator[slice]:
        """Runs of rows of some 16 MB, with a `release` after each.

        Args:
            n_rows: of the arrays.
            row_bytes: that the work on one row takes, over all arrays that it touches or makes.
        """
        step = max(1, SLAB_BYTES // max(1, row_bytes))
        for start in range(0, n_rows, step):
            yield slice(start, min(start + step, n_rows))
            self.release()


def _row_bytes(array: NDArray[Any]) -> int:
    return math.prod(array.shape[1:]) * array.dtype.itemsize
