"""Rows sorted by id, in a file of small Arrow record batches: any row costs one read of a few pages."""

from __future__ import annotations

import os
import tempfile
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BLOCK_ROWS = 128
"""Some 12 KB: a look-up reads the block of each row that it wants, and decodes all of it."""

_END_BYTES = 8
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(frozen=True)
class _Index:
    """Of the blocks, which are ``[B]``.

    Attributes:
        first_ids: of each block.
        offsets: int64 ``[B + 1]``, where each begins in the file, and where the last one ends.
        starts: int64 ``[B + 1]``, the number of its first row, and how many rows there are.
    """

    first_ids: pa.Array
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]


class Blocks:
    """A file made by `write_blocks`. Threads may share one; it stays readable when the file is unlinked."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        # Else each read brings in its neighbourhood, and some hundred look-ups the whole file.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        size = os.fstat(self._descriptor).st_size
        (at,) = np.frombuffer(os.pread(self._descriptor, _END_BYTES, size - _END_BYTES), "<i8").tolist()
        table = pa.ipc.open_stream(_read(self._descriptor, at, size - _END_BYTES)).read_all().combine_chunks()
        offsets, starts = (table.column(name).to_numpy() for name in ("offset", "start"))
        self._index = _Index(table.column("first_id").chunk(0)[:-1], offsets, starts)
        self._head = os.pread(self._descriptor, int(offsets[0]), 0)

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows at these positions (int64 ``[M]``), in that order."""
        wanted = np.searchsorted(self._index.starts, rows, side="right") - 1
        blocks = np.unique(wanted)
        return self._table(blocks).take(pa.array(rows - self._index.starts[wanted] + self._begins(blocks, wanted)))

    def find(self, ids: Sequence[Any]) -> tuple[pa.Table, list[Any]]:
        """The rows of those ids that are there, in that order, and the other ids."""
        firsts = _comparable(self._index.first_ids)
        wanted = np.array([max(bisect_right(firsts, value) - 1, 0) for value in ids], dtype=np.int64)
        blocks = np.unique(wanted)
        table = self._table(blocks)
        column = _comparable(table.column("id").combine_chunks())
        begins = self._begins(blocks, wanted)
        ends = begins + self._index.starts[wanted + 1] - self._index.starts[wanted]
        places, missing = [], []
        for value, begin, end in zip(ids, begins.tolist(), ends.tolist(), strict=True):
            place = bisect_left(column, value, begin, end)
            if place < end and column[place] == value:
                places.append(place)
            else:
                missing.append(value)
        return table.take(pa.array(places, pa.int64())), missing

    def _begins(self, blocks: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of the table of ``blocks`` where each wanted block begins, int64 ``[M]``."""
        lengths = self._index.starts[blocks + 1] - self._index.starts[blocks]
        begins: NDArray[np.int64] = (np.cumsum(lengths) - lengths)[np.searchsorted(blocks, wanted)]
        return begins

    def _table(self, blocks: NDArray[np.int64]) -> pa.Table:
        """These blocks, one behind the other; they are asked for at once, so that a disk works on many at a time."""
        spans = list(zip(self._index.offsets[blocks].tolist(), self._index.offsets[blocks + 1].tolist(), strict=True))
        for begin, end in spans:
            os.posix_fadvise(self._descriptor, begin, end - begin, os.POSIX_FADV_WILLNEED)
        parts = [_read(self._descriptor, begin, end) for begin, end in spans]
        return pa.ipc.open_stream(b"".join((self._head, *parts, _END_OF_STREAM))).read_all().combine_chunks()


def write_blocks(tables: Iterable[pa.Table], schema: pa.Schema, file: Path) -> None:
    """Writes a file for `Blocks`, whole or not at all: the blocks as an Arrow stream, then their index.

    Args:
        tables: rows sorted by their column ``id``, at least one.
        schema: of the tables.
        file: that is made or replaced.
    """
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        try:
            offsets, starts, first_ids = [], [0], []
            with pa.output_stream(part) as sink:
                sink.write(schema.serialize())
                for block in _blocks(tables):
                    offsets.append(sink.tell())
                    first_ids.append(block.column("id")[0])
                    starts.append(starts[-1] + block.num_rows)
                    sink.write(block.serialize())
                offsets.append(sink.tell())
                sink.write(_END_OF_STREAM)
                at = sink.tell()
                ids = pa.array([value.as_py() for value in first_ids] + [None], schema.field("id").type)
                index = pa.table({"first_id": ids, "offset": offsets, "start": starts})
                with pa.ipc.new_stream(sink, index.schema) as writer:
                    writer.write_table(index)
                sink.write(np.array([at], dtype="<i8").tobytes())
            Path(part.name).replace(file)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def _blocks(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.combine_chunks().to_batches(max_chunksize=BLOCK_ROWS)


def _read(descriptor: int, begin: int, end: int) -> bytes:
    found = os.pread(descriptor, end - begin, begin)
    if len(found) != end - begin:
        raise OSError(f"{len(found)} of {end - begin} bytes at {begin}")
    return found


def _comparable(column: pa.Array) -> Any:
    """Values that compare as Python's do, each made when it is asked for."""
    return column.to_numpy() if pa.types.is_integer(column.type) else _Scalars(column)


class _Scalars(Sequence[Any]):
    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        return self._column[place].as_py()
