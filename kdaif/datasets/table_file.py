"""One table of a job as it lies on the disk: its columns are read in runs of rows, and never all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from kdaif.datasets.parquet import opened, sizes
from kdaif.errors import InvalidInputError
from kdaif.scratch import SLAB_BYTES

_MOST_BATCH_ROWS = 131_072


@dataclass(frozen=True, eq=False)
class TableFile:
    """A Parquet file whose footer was read.

    Attributes:
        path: of the file.
        field: what findings call it, such as ``spec.labeled``.
        schema: its columns.
        num_rows: as the footer says.
        row_bytes: of a row once read, on average, by column.
    """

    path: Path
    field: str
    schema: pa.Schema
    num_rows: int
    row_bytes: Mapping[str, int]

    @classmethod
    def of(cls, path: Path, field: str) -> TableFile:
        """Reads the footer.

        Raises:
            InvalidInputError: the file cannot be read, or has too many columns or too much text.
        """
        with _named(field), opened(path) as parquet:
            found, rows, schema = sizes(path, parquet.metadata), parquet.metadata.num_rows, parquet.schema_arrow
        names = set(schema.names)
        by_column = dict.fromkeys(schema.names, 0)
        for leaf, total in [*found.fixed.items(), *found.text.items()]:
            column = _column_of(leaf, names)
            if column is not None:
                by_column[column] += -(-total // max(1, rows))
        return cls(path, field, schema, rows, by_column)

    def batches(self, names: Sequence[str], *, made_bytes: int = 0) -> Iterator[tuple[slice, pa.RecordBatch]]:
        """Runs of rows of some 16 MB with their columns ``names``, in order, and the places of their rows.

        Args:
            names: of the columns.
            made_bytes: that are made of a row beyond as many as it has.

        Raises:
            InvalidInputError: the file is damaged.
        """
        step = SLAB_BYTES // max(1, 2 * sum(self.row_bytes[name] for name in names) + made_bytes)
        start = 0
        with _named(self.field), opened(self.path, len(names)) as parquet:
            for batch in parquet.iter_batches(
                max(1, min(step, _MOST_BATCH_ROWS)), columns=list(names), use_threads=False
            ):
                rows = slice(start, start + batch.num_rows)
                start = rows.stop
                if start > self.num_rows:
                    break
                yield rows, batch
            if start != self.num_rows:
                raise pa.ArrowInvalid(f"its footer promises {self.num_rows:,} rows, which it does not hold")

    def column(self, name: str, *, made_bytes: int = 0) -> Iterator[tuple[slice, pa.Array]]:
        """As `batches`, of one column."""
        for rows, batch in self.batches([name], made_bytes=made_bytes):
            yield rows, batch.column(batch.schema.get_field_index(name))


@contextmanager
def _named(field: str) -> Iterator[None]:
    """Errors of reading, told of this field."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError.of(field, error.violations[0].description) from error


def _column_of(leaf: str, names: set[str]) -> str | None:
    """The column that a leaf such as ``features.list.element`` belongs to; names may hold dots themselves."""
    while leaf not in names:
        leaf, dot, _ = leaf.rpartition(".")
        if not dot:
            return None
    return leaf
