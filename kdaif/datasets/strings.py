"""Texts of many rows as Arrow keeps them, bytes and offsets: a row is no Python object until it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.scratch import Scratch

_RUN_ROWS = 8192


class Strings:
    """N texts, to be indexed like a numpy array of objects, which ``np.asarray`` makes of it where it is small.

    Args:
        array: [N] strings or large strings without null, in one piece or several.
        scratch: where they lie; it is let go of on the way through all of them.
    """

    def __init__(self, array: pa.Array | pa.ChunkedArray, scratch: Scratch | None = None) -> None:
        self.array = array
        self._scratch = scratch

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """Of texts that are in memory."""
        return cls(pa.array(list(texts), pa.large_string()))

    def __contains__(self, text: object) -> bool:
        return any(each == text for each in self)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.array), _RUN_ROWS):
            yield from self.array.slice(start, _RUN_ROWS).to_pylist()
            if self._scratch is not None:
                self._scratch.release()

    @overload
    def __getitem__(self, chosen: int | np.integer[Any]) -> str: ...
    @overload
    def __getitem__(self, chosen: slice | NDArray[Any]) -> Strings: ...
    def __getitem__(self, chosen: int | np.integer[Any] | slice | NDArray[Any]) -> str | Strings:
        """One text; or those of a slice, of positions (int [M]) or of a mask (bool [N])."""
        if isinstance(chosen, int | np.integer):
            return str(self.array[int(chosen)].as_py())
        if isinstance(chosen, slice):
            return Strings(self.array[chosen], self._scratch)
        if chosen.dtype == np.bool_:
            return Strings(self.array.filter(pa.array(chosen)))
        return Strings(self.array.take(pa.array(np.where(chosen < 0, chosen + len(self), chosen))))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Object [N] of str."""
        texts = np.empty(len(self), dtype=object)
        texts[:] = self.array.to_pylist()
        return texts if dtype is None else texts.astype(dtype)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return self.array if type is None else self.array.cast(type)

    def tolist(self) -> list[str]:
        """Every text."""
        return list(self)


def text_array(
    read: Callable[[], Iterable[pa.Array]], rows: int, scratch: Scratch, type_: pa.DataType
) -> pa.Array | None:
    """Texts that are read run by run as one array.

    They are read twice, for their lengths and for themselves, so that they never lie in memory twice.

    Args:
        read: gives the runs, of strings or large strings, anew at each call. A null becomes an empty text.
        rows: N.
        scratch: keeps bytes and offsets.
        type_: string or large string.

    Returns:
        [N] of type ``type_``; None where they are too long for it.
    """
    offsets = scratch.empty((rows + 1,), np.int64 if pa.types.is_large_string(type_) else np.int32)
    offsets[0] = total = at = 0
    for run in read():
        lengths = pc.binary_length(run).fill_null(0).to_numpy(zero_copy_only=False)
        ends = total + np.cumsum(lengths, dtype=np.int64)
        total = int(ends[-1]) if len(ends) else total
        if total > np.iinfo(offsets.dtype).max:
            return None
        offsets[at + 1 : at + 1 + len(run)] = ends
        at += len(run)
    data = scratch.empty((total,), np.uint8)
    at = 0
    for run in read():
        joined = pc.cast(run, pa.large_string()).fill_null("")
        _, bounds, content = joined.buffers()
        if len(joined) and content is not None:
            ends = np.frombuffer(bounds, np.int64)
            first, last = ends[joined.offset], ends[joined.offset + len(joined)]
            data[at : at + last - first] = np.frombuffer(content, np.uint8)[first:last]
            at += int(last - first)
        scratch.release()
    return pa.Array.from_buffers(type_, rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
