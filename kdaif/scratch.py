"""Arrays that may be larger than memory: on a local disk, mapped, and seen as numpy arrays."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kdaif.errors import UnavailableError

MOST_IN_MEMORY_BYTES = 64 * 2**20
"""An array up to this size is an ordinary one."""

SLAB_BYTES = 32 * 2**20
"""What is worked on at a time."""


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
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

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
        except OSError as error:
            raise UnavailableError(
                f"no room for {size:,} bytes of scratch in {folder} ({error.strerror or error}); free some, or put the "
                "cache on a larger disk"
            ) from error
        self._maps.add(mapped)
        return mapped

    def release(self) -> None:
        """Lets go of the memory behind the arrays on the disk."""
        for mapped in list(self._maps):
            mapped.madvise(mmap.MADV_DONTNEED)

    def slabs(self, n_rows: int, row_bytes: int) -> Iterator[slice]:
        """Runs of rows of some 32 MB, with a `release` after each.

        Args:
            n_rows: of the arrays.
            row_bytes: that the work on one row takes, over all arrays that it touches or makes.
        """
        step = max(1, SLAB_BYTES // max(1, row_bytes))
        for start in range(0, n_rows, step):
            yield slice(start, min(start + step, n_rows))
            self.release()
