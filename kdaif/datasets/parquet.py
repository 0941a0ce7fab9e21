"""Opens Parquet files. The only place that sees Arrow's reading errors."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdaif.errors import InvalidInputError
from kdaif.records import Column


def inspect(file: Path) -> tuple[int, tuple[Column, ...]]:
    """Number of rows and the columns, read from the footer alone.

    Raises:
        InvalidInputError: the file is cut short or is no Parquet file.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            rows = int(parquet.metadata.num_rows)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError.of(
            "dataset", f"no readable Parquet file: {error}; write it again and re-upload"
        ) from error
    return rows, tuple(Column(field.name, str(field.type)) for field in schema)


def read_table(file: Path) -> pa.Table:
    """The whole file.

    Opened as one file, never as a dataset: a directory called ``a=1`` on the way must not become a column.

    Raises:
        InvalidInputError: the file is damaged.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError.of(
            "dataset", f"no readable Parquet file: {error}; write it again and re-upload"
        ) from error
