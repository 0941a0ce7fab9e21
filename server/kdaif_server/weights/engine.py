"""DuckDB, bounded and shut in: it reads the files it is given and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

_MEMORY_LIMIT = "512MB"


class Engine:
    """One database without tables. Threads may share it; each query has a cursor of its own.

    Args:
        spill_dir: where a sort that is larger than the memory limit goes.
    """

    def __init__(self, spill_dir: Path) -> None:
        self._root = duckdb.connect(
            config={
                "memory_limit": _MEMORY_LIMIT,
                "threads": 2,
                "temp_directory": str(spill_dir),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )

    def table(self, sql: str, parameters: list[Any]) -> pa.Table:
        """The whole answer."""
        with self._root.cursor() as cursor:
            return cursor.sql(sql, params=parameters).to_arrow_table()

    def batches(self, sql: str, parameters: list[Any], rows: int) -> Iterator[pa.RecordBatch]:
        """The answer bit by bit, ``rows`` at a time, as it is computed."""
        with self._root.cursor() as cursor:
            yield from cursor.sql(sql, params=parameters).to_arrow_reader(rows)

    def close(self) -> None:
        """Ends every query."""
        self._root.close()


def quoted(column: str) -> str:
    """A column's name as SQL takes it, whatever is in it."""
    return '"' + column.replace('"', '""') + '"'
