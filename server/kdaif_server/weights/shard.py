"""One round's weights on this host: a Parquet file to scan, and a mapped copy to look rows up in."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError, NotFoundError

_BATCH_ROWS = 2**20  # of the mapped copy: a look-up pays for each batch that it touches


class Shard:
    """Rows sorted by id. Threads may share one.

    A row of a Parquet file costs the decoding of its whole row group, so rows are looked up in an uncompressed Arrow
    file beside it, which is made at the first look-up and mapped, not read.

    Args:
        parquet: the shard as the worker wrote it; its name is that of the copy too.
    """

    def __init__(self, parquet: Path) -> None:
        self.parquet = parquet
        self._opening = threading.Lock()
        self._copy: _MappedCopy | None = None
        self.schema = pq.read_schema(parquet)
        self.row_count = int(pq.read_metadata(parquet).num_rows)

    def rows_of(self, ids: Sequence[str]) -> pa.Table:
        """The rows of ``ids``, in that order.

        Raises:
            NotFoundError: naming the first ten that are missing.
            InvalidInputError: the ids of this job are numbers and some of these are not.
        """
        rows, missing = self.known_rows_of(ids)
        if missing:
            raise NotFoundError(f"{len(missing)} id(s) are not in this job: {', '.join(missing[:10])}")
        return rows

    def known_rows_of(self, ids: Sequence[str]) -> tuple[pa.Table, list[str]]:
        """The rows of those ids that are there, in that order, and the other ids.

        Raises:
            InvalidInputError: the ids of this job are numbers and some of these are not.
        """
        wanted = _typed(ids, self.schema.field("id").type)
        with self._mapped() as batches:
            places, missing = _find(batches, wanted)
            gone = set(missing)
            there = np.array([value not in gone for value in wanted], dtype=np.bool_)
            return _take(batches, places[there], self.schema), [str(value) for value in missing]

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows at these positions (int64 ``[M]``), in that order."""
        with self._mapped() as batches:
            starts = np.cumsum([0] + [batch.num_rows for batch in batches])
            of_batch = np.searchsorted(starts, rows, side="right") - 1
            return _take(batches, np.stack([of_batch, rows - starts[of_batch]], axis=1), self.schema)

    @contextmanager
    def _mapped(self) -> Iterator[list[pa.RecordBatch]]:
        with self._opening:
            file = self.parquet.with_suffix(".arrow")
            if not file.exists():
                self._write(file)
                self._copy = None
            if self._copy is None:
                self._copy = _MappedCopy(file)
            os.utime(file)
            copy = self._copy
        try:
            yield copy.batches
        finally:
            copy.release()

    def _write(self, target: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
            try:
                with pa.ipc.new_file(part, self.schema) as writer:
                    for table in _tables(self.parquet):
                        writer.write_table(table.combine_chunks())
                Path(part.name).replace(target)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise


class _MappedCopy:
    """The batches of an Arrow file. They are read where they are touched, and let go of afterwards."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        # Else each touch brings in its neighbourhood, and some hundred look-ups the whole file.
        self._map.madvise(mmap.MADV_RANDOM)
        reader = pa.ipc.open_file(pa.py_buffer(self._map))
        self.batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def release(self) -> None:
        """Gives the memory back; the pages stay in the cache of the system."""
        self._map.madvise(mmap.MADV_DONTNEED)


def _tables(parquet: Path) -> Iterator[pa.Table]:
    """The rows, about ``_BATCH_ROWS`` at a time."""
    with pq.ParquetFile(parquet, pre_buffer=False) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        groups: list[int] = []
        for group in range(len(sizes)):
            groups.append(group)
            if group + 1 == len(sizes) or sum(sizes[each] for each in groups) + sizes[group + 1] > _BATCH_ROWS:
                yield file.read_row_groups(groups)
                groups = []


def _typed(ids: Sequence[str], id_type: pa.DataType) -> list[Any]:
    if not pa.types.is_integer(id_type):
        return list(ids)
    try:
        return [int(value) for value in ids]
    except ValueError as error:
        raise InvalidInputError.of("ids", f"must be whole numbers in this job: {error}") from error


def _find(batches: list[pa.RecordBatch], wanted: list[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Batch and row of each id, int64 ``[M, 2]``, and the ids that are nowhere."""
    firsts = [batch.column("id")[0].as_py() for batch in batches]
    places, missing = np.zeros((len(wanted), 2), dtype=np.int64), []
    for position, value in enumerate(wanted):
        number = bisect_right(firsts, value) - 1
        column = batches[max(number, 0)].column("id")
        row = bisect_left(_Scalars(column), value)
        if number < 0 or row == len(column) or column[row].as_py() != value:
            missing.append(value)
        places[position] = number, row
    return places, missing


class _Scalars(Sequence[Any]):
    """A column as Python values, each made when it is asked for."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        return self._column[place].as_py()


def _take(batches: list[pa.RecordBatch], places: NDArray[np.int64], schema: pa.Schema) -> pa.Table:
    """Rows by batch and row, in the order of ``places`` (``[M, 2]``)."""
    if not len(places):
        return schema.empty_table()
    by_batch = np.argsort(places[:, 0], kind="stable")
    numbers, starts = np.unique(places[by_batch, 0], return_index=True)
    taken = [
        batches[number].take(pa.array(places[rows, 1]))
        for number, rows in zip(numbers.tolist(), np.split(by_batch, starts[1:]), strict=True)
    ]
    back = np.empty(len(places), dtype=np.int64)
    back[by_batch] = np.arange(len(places))
    return pa.Table.from_batches(taken).combine_chunks().take(pa.array(back))
