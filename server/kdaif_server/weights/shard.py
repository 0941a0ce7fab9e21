"""One round's weights on this host: a Parquet file to scan, and a copy in small blocks to look rows up in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError, NotFoundError
from kdaif_server.weights.blocks import Blocks, write_blocks

_READ_ROWS = 2**17  # at a time, when the copy is made


class Shard:
    """Rows sorted by id. Threads may share one.

    A row of a Parquet file costs the decoding of its whole row group, so rows are looked up in a file of small blocks
    beside it, which is made at the first look-up.

    Args:
        parquet: the shard as the worker wrote it; its name is that of the copy too.
    """

    def __init__(self, parquet: Path) -> None:
        self.parquet = parquet
        self._opening = threading.Lock()
        self._blocks: Blocks | None = None
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
        rows, missing = self._opened().find(_typed(ids, self.schema.field("id").type))
        return rows, [str(value) for value in missing]

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows at these positions (int64 ``[M]``), in that order."""
        return self._opened().take(rows)

    def _opened(self) -> Blocks:
        with self._opening:
            file = self.parquet.with_suffix(".blocks")
            if not file.exists():
                write_blocks(_tables(self.parquet), self.schema, file)
                self._blocks = None
            if self._blocks is None:
                self._blocks = Blocks(file)
            os.utime(file)
            return self._blocks


def _tables(parquet: Path) -> Iterator[pa.Table]:
    """The rows, about ``_READ_ROWS`` at a time."""
    with pq.ParquetFile(parquet, pre_buffer=False) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        groups: list[int] = []
        for group in range(len(sizes)):
            groups.append(group)
            if group + 1 == len(sizes) or sum(sizes[each] for each in groups) + sizes[group + 1] > _READ_ROWS:
                yield file.read_row_groups(groups)
                groups = []


def _typed(ids: Sequence[str], id_type: pa.DataType) -> list[Any]:
    if not pa.types.is_integer(id_type):
        return list(ids)
    found = []
    for value in ids:
        try:
            found.append(int(value))
        except ValueError:
            raise InvalidInputError.of("ids", f"holds {value!r}; the ids of this job are whole numbers") from None
    return found
