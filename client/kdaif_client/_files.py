"""Files of tables, read batch by batch: Parquet, CSV, JSON lines, Arrow and numpy archives."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from kdaif_client.errors import InvalidArgument, NotFound

TAKEN = (
    "pandas, polars and pyarrow tables, dicts of numpy arrays, a numpy array, or the path of a file: Parquet, .csv, "
    ".jsonl or .ndjson, .arrow or .feather, .npz"
)
# The types of a CSV file are those of its first block; a larger one makes surprises further down rarer.
_CSV_BLOCK_BYTES = 16 * 2**20
_BATCH_ROWS = 65_536
# Arrow's words.
_CONVERSION = re.compile(
    r"CSV column #(?P<column>\d+).*conversion error to (?P<type>[^:]+): invalid value '(?P<value>.*)'"
)


@dataclass(frozen=True)
class Batches:
    """The rows of a file, one record batch after another."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def kind_of(path: Path) -> str:
    """``csv``, ``json``, ``arrow`` or ``npz`` by the end of the name, ``parquet`` for every other name."""
    kinds = {".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".arrow": "arrow", ".feather": "arrow", ".npz": "npz"}
    return kinds.get(path.suffix.lower(), "parquet")


def check_there(path: Path) -> None:
    """Raises NotFound where there is no file."""
    if not path.is_file():
        raise NotFound(f"There is no file {path}. upload_dataset takes {TAKEN}.")


@contextmanager
def batches_of(path: Path) -> Iterator[Batches]:
    """The rows of a Parquet, CSV, JSON or Arrow file. CSV and Arrow are never in memory whole, nor is Parquet.

    In CSV an empty cell, ``NA``, ``null`` and ``NaN`` are null, as pandas reads them.

    Raises:
        InvalidArgument: the file is damaged or cut short, here or while its batches are read.
    """
    kind = kind_of(path)
    names: list[str] = []
    try:
        if kind == "csv":
            with pa_csv.open_csv(
                path,
                read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
                convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
            ) as reader:
                names = reader.schema.names
                yield Batches(reader.schema, iter(reader))
        elif kind == "json":
            table = pa_json.read_json(path)
            yield Batches(table.schema, iter(table.to_batches(_BATCH_ROWS)))
        elif kind == "arrow":
            with pa.memory_map(str(path)) as source:
                yield _arrow_batches(path, source)
        else:
            _check_ends(path)
            with pq.ParquetFile(path) as parquet:
                yield Batches(parquet.schema_arrow, parquet.iter_batches(_BATCH_ROWS))
    except (pa.ArrowException, OSError) as error:
        changed = _changed_type(path, names, error) if kind == "csv" else None
        raise changed or _unreadable(path, kind, error) from None


def arrays_of(path: Path) -> dict[str, Any]:
    """The arrays of a numpy archive by name. Pickled objects are not loaded: they could run code.

    Raises:
        InvalidArgument: the file is damaged or cut short, or holds objects; or numpy is not installed.
    """
    try:
        import numpy
    except ImportError:
        raise InvalidArgument(f"{path} needs numpy to be read: pip install numpy.") from None
    try:
        with path.open("rb") as handle, numpy.load(handle, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, AttributeError, TypeError) as error:
        # A file that is no archive loads as an array, which has no ``files`` and is no context.
        raise _unreadable(path, "npz", error) from None


def column_names(file: Path) -> list[str]:
    """The columns of a Parquet file."""
    _check_ends(file)
    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, "parquet", error) from None


def _arrow_batches(path: Path, source: Any) -> Batches:
    # Of the two formats, that for files begins with its name and ends with it; the other is a stream of messages.
    if source.read(6) == b"ARROW1":
        reader = pa.ipc.open_file(source)
        return Batches(reader.schema, (reader.get_batch(at) for at in range(reader.num_record_batches)))
    source.seek(0)
    reader = pa.ipc.open_stream(source)
    return Batches(reader.schema, iter(reader))


def _check_ends(path: Path) -> None:
    with path.open("rb") as handle:
        head = handle.read(4)
        handle.seek(-min(4, path.stat().st_size), os.SEEK_END)
        tail = handle.read(4)
    if head != b"PAR1" or tail != b"PAR1":
        raise _unreadable(path, "parquet", None)


def _changed_type(path: Path, names: list[str], error: Exception) -> InvalidArgument | None:
    """A column whose first block is of one type and whose later rows are not, which is no damage."""
    found = _CONVERSION.search(str(error))
    if found is None or int(found["column"]) >= len(names):
        return None
    name, was = names[int(found["column"])], found["type"]
    return InvalidArgument.of(
        name,
        f"of {path} begins as {was} and further down is {found['value'][:80]!r}. Write the whole column alike (floats "
        f"with a point from the first row on), or read it with one type and upload the frame: "
        f"pandas.read_csv({str(path)!r}, dtype={{{name!r}: float}}), or str for text",
    )


def _unreadable(path: Path, kind: str, error: Exception | None) -> InvalidArgument:
    if kind == "parquet":
        return InvalidArgument(
            f"{path} is not a whole Parquet file. Read it with pandas or polars and upload that, or write it again."
        )
    name = {"csv": "CSV", "json": "JSON lines", "arrow": "Arrow", "npz": "numpy .npz"}[kind]
    why = " ".join(str(error).split())[:300]
    return InvalidArgument(
        f"{path} is not a whole {name} file: {why}. Read it with pandas or polars and upload that, or write it again."
    )
