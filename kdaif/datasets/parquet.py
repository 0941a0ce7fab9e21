"""Opens Parquet files. The only place that sees Arrow's reading errors, and the one that stops what would not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdaif.errors import InvalidInputError
from kdaif.records import Column

MOST_COLUMNS = 20_000
# Of the rows once read, not of the file: a dictionary or a run length makes gigabytes of a few bytes. Numbers and
# tensors are read in runs and go to a disk; a run of texts or of encoded pictures has no bound of its own.
MOST_BYTES = 64 * 2**30
MOST_TEXT_BYTES = 8 * 2**30
# Texts that may be longer than this together are counted rather than estimated.
_COUNTED_ABOVE_BYTES = 256 * 2**20
# Thrift reads the list of columns before it allocates anything for them.
_MOST_FOOTER_ITEMS = 100_000
_MOST_FOOTER_BYTES = 256 * 2**20
_BYTES_BY_TYPE = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_BATCH_ROWS = 65_536
# Of all columns together. Without a buffer Arrow reads each column of a row group whole, and row groups are large.
_BUFFER_BYTES = 8 * 2**20
_LEAST_BUFFER_BYTES, _MOST_BUFFER_BYTES = 4096, 65_536


@dataclass(frozen=True)
class Sizes:
    """Bytes of all rows once read, by path of the leaf: ``fixed`` of numbers and tensors, ``text`` of all else."""

    fixed: Mapping[str, int]
    text: Mapping[str, int]


def inspect(file: Path, *, most_bytes: int = MOST_BYTES) -> tuple[int, tuple[Column, ...]]:
    """Number of rows and the columns, read from the footer alone but for columns of text that may grow in memory.

    Args:
        file: the Parquet file.
        most_bytes: of all numbers and tensors once read, which a worker keeps on its disk.

    Raises:
        InvalidInputError: the file is cut short, is no Parquet file, has over ``MOST_COLUMNS`` columns, its rows
            take over ``most_bytes``, or texts and encoded pictures over ``MOST_TEXT_BYTES``.
    """
    with opened(file) as parquet:
        _, schema = sizes(file, parquet.metadata, most_bytes), parquet.schema_arrow
        return int(parquet.metadata.num_rows), tuple(Column(field.name, str(field.type)) for field in schema)


@contextmanager
def opened(file: Path, columns: int = MOST_COLUMNS) -> Iterator[pq.ParquetFile]:
    """An open file, its footer checked.

    Opened as one file, never as a dataset: a directory called ``a=1`` on the way must not become a column.

    Args:
        file: the Parquet file.
        columns: how many of it are read at once.

    Raises:
        InvalidInputError: as `inspect`, or on the way the file turns out to be damaged. Its field is ``dataset``.
    """
    buffer = max(_LEAST_BUFFER_BYTES, min(_MOST_BUFFER_BYTES, _BUFFER_BYTES // max(1, columns)))
    try:
        _refuse_long_footer(file)
        with pq.ParquetFile(
            file, thrift_container_size_limit=_MOST_FOOTER_ITEMS, pre_buffer=False, buffer_size=buffer
        ) as parquet:
            if parquet.metadata.num_columns > MOST_COLUMNS:
                raise InvalidInputError.of("dataset", _too_many_columns(f"{parquet.metadata.num_columns:,} columns"))
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


def sizes(file: Path, metadata: pq.FileMetaData, most_bytes: int | None = None) -> Sizes:
    """Bytes of all rows once read.

    Args:
        file: the Parquet file.
        metadata: its footer.
        most_bytes: of numbers and tensors; None where that was checked when the file came.

    Raises:
        InvalidInputError: the rows take over ``most_bytes`` or over ``MOST_TEXT_BYTES``.
    """
    fixed, text, growth = _footer_bytes(metadata)
    if most_bytes is not None and sum(fixed.values()) > most_bytes:
        _refuse(metadata, most_bytes, "once read")
    if sum(text.values()) + sum(growth.values()) > _COUNTED_ABOVE_BYTES:
        for path in growth:
            if sum(text.values()) <= MOST_TEXT_BYTES:
                text[path] = max(text[path], _decoded_bytes(file, path, MOST_TEXT_BYTES))
    if sum(text.values()) > MOST_TEXT_BYTES:
        _refuse(metadata, MOST_TEXT_BYTES, "of memory")
    return Sizes(fixed, text)


def _refuse(metadata: pq.FileMetaData, most_bytes: int, where: str) -> None:
    raise InvalidInputError.of(
        "dataset",
        f"the {metadata.num_rows:,} rows take over {most_bytes / 2**30:.4g} GiB {where}, however small the file; "
        "upload fewer rows or shorter values",
    )


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


def _too_many_columns(what: str) -> str:
    return f"{what} where at most {MOST_COLUMNS:,} are read; store numbers as one 'features' list, or remove columns"


def _footer_bytes(metadata: pq.FileMetaData) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Bytes by column of numbers and by column of text as far as the footer tells, and how many more the latter may be.

    Numbers count by their width: the "uncompressed" size of a column is that of its pages, in which a value that
    repeats takes next to nothing. A text that repeats is no longer than those pages.
    """
    fixed: dict[str, int] = {}
    text: dict[str, int] = {}
    growth: dict[str, int] = {}
    schema = metadata.schema
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for position in range(metadata.num_columns):
            column = row_group.column(position)
            values, path = column.num_values, column.path_in_schema
            if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
                fixed[path] = fixed.get(path, 0) + values * schema.column(position).length
            elif column.physical_type in _BYTES_BY_TYPE:
                fixed[path] = fixed.get(path, 0) + values * _BYTES_BY_TYPE[column.physical_type]
            elif "DELTA_BYTE_ARRAY" in column.encodings:
                raise InvalidInputError.of(
                    "dataset",
                    f"column {path!r} is stored as DELTA_BYTE_ARRAY, whose size in memory cannot be told; write it "
                    "with plain or dictionary encoding",
                )
            else:
                text[path] = text.get(path, 0) + values * 4 + column.total_uncompressed_size
                if column.has_dictionary_page:
                    growth[path] = growth.get(path, 0) + values * column.total_uncompressed_size
    return fixed, text, growth


def _decoded_bytes(file: Path, path: str, most: int) -> int:
    """Bytes of a column of text once decoded, counted on its dictionaries; stops above ``most``."""
    total: int = 0
    with pq.ParquetFile(file, read_dictionary=[path], pre_buffer=False, buffer_size=_MOST_BUFFER_BYTES) as parquet:
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
