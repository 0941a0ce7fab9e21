"""Opens Parquet files. The only place that sees Arrow's reading errors, and the one that stops what would not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdaif.errors import InvalidInputError
from kdaif.records import Column

MOST_COLUMNS = 20_000
# Of the rows in memory, not of the file: a dictionary or a run length makes gigabytes of a few bytes.
MOST_BYTES = 8 * 2**30
# Thrift reads the list of columns before it allocates anything for them.
_MOST_FOOTER_ITEMS = 100_000
_MOST_FOOTER_BYTES = 256 * 2**20
_BYTES_BY_TYPE = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_BATCH_ROWS = 65_536


def inspect(file: Path) -> tuple[int, tuple[Column, ...]]:
    """Number of rows and the columns, read from the footer alone but for columns of text that may grow in memory.

    Raises:
        InvalidInputError: the file is cut short, is no Parquet file, has over ``MOST_COLUMNS`` columns, or its rows
            take over ``MOST_BYTES``.
    """
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
        return int(parquet.metadata.num_rows), tuple(Column(field.name, str(field.type)) for field in schema)


def read_table(file: Path) -> pa.Table:
    """The whole file.

    Opened as one file, never as a dataset: a directory called ``a=1`` on the way must not become a column.

    Raises:
        InvalidInputError: as `inspect`, or the file is damaged.
    """
    with _opened(file) as parquet:
        return parquet.read()


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        _refuse_long_footer(file)
        with pq.ParquetFile(file, thrift_container_size_limit=_MOST_FOOTER_ITEMS) as parquet:
            _refuse_too_much(file, parquet.metadata)
            yield parquet
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        if "Exceeded size limit" in str(error):  # Thrift's words for _MOST_FOOTER_ITEMS
            what = f"over {_MOST_FOOTER_ITEMS:,} columns or row groups"
            raise InvalidInputError.of("dataset", _too_many_columns(what)) from error
        raise InvalidInputError.of(
            "dataset", f"no readable Parquet file: {error}; write it again and re-upload"
        ) from error


def _refuse_long_footer(file: Path) -> None:
    with file.open("rb") as handle:
        handle.seek(-min(8, file.stat().st_size), 2)
        length = int.from_bytes(handle.read(4), "little")
    # A damaged length is longer than the file, and Arrow's to report.
    if _MOST_FOOTER_BYTES < length < file.stat().st_size:
        raise InvalidInputError.of(
            "dataset",
            _too_many_columns(f"the Parquet footer takes {length:,} bytes, as that of too many columns does,"),
        )


def _refuse_too_much(file: Path, metadata: pq.FileMetaData) -> None:
    if metadata.num_columns > MOST_COLUMNS:
        raise InvalidInputError.of("dataset", _too_many_columns(f"{metadata.num_columns:,} columns"))
    total, growth = _footer_bytes(metadata)
    if total + sum(growth.values()) > MOST_BYTES:
        for path in growth:
            if total <= MOST_BYTES:
                total += _decoded_bytes(file, path, MOST_BYTES - total)
    if total > MOST_BYTES:
        raise InvalidInputError.of(
            "dataset",
            f"the {metadata.num_rows:,} rows take over {MOST_BYTES // 2**30} GiB of memory, however small the file; "
            "upload fewer rows or shorter values",
        )


def _too_many_columns(what: str) -> str:
    return f"{what} where at most {MOST_COLUMNS:,} are read; store numbers as one 'features' list, or remove columns"


def _footer_bytes(metadata: pq.FileMetaData) -> tuple[int, dict[str, int]]:
    """Bytes in memory as far as the footer tells, and at most how many more by column of text.

    Numbers count by their width: the "uncompressed" size of a column is that of its pages, in which a value that
    repeats takes next to nothing. A text that repeats is no longer than those pages.
    """
    total = 0
    growth: dict[str, int] = {}
    schema = metadata.schema
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for position in range(metadata.num_columns):
            column = row_group.column(position)
            values = column.num_values
            if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
                total += values * schema.column(position).length
            elif column.physical_type in _BYTES_BY_TYPE:
                total += values * _BYTES_BY_TYPE[column.physical_type]
            elif "DELTA_BYTE_ARRAY" in column.encodings:
                raise InvalidInputError.of(
                    "dataset",
                    f"column {column.path_in_schema!r} is stored as DELTA_BYTE_ARRAY, whose size in memory cannot be "
                    "told; write it with plain or dictionary encoding",
                )
            else:
                total += values * 4 + column.total_uncompressed_size
                if column.has_dictionary_page:
                    path = column.path_in_schema
                    growth[path] = growth.get(path, 0) + values * column.total_uncompressed_size
    return total, growth


def _decoded_bytes(file: Path, path: str, most: int) -> int:
    """Bytes of a column of text once decoded, counted on its dictionaries; stops above ``most``."""
    total: int = 0
    with pq.ParquetFile(file, read_dictionary=[path]) as parquet:
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=[path]):
            column = batch.column(0)
            while not pa.types.is_dictionary(column.type):
                nested = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
                if not nested:
                    return total + int(column.nbytes)  # Arrow does not read this one as a dictionary
                column = column.flatten()
            lengths = pc.binary_length(column.dictionary).take(column.indices)
            total += 4 * len(column) + (pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
            if total > most:
                break
    return total
