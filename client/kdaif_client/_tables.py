"""Tables of many kinds into one Parquet file, the same bytes for the same rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdaif_client._files import TAKEN, Batches, arrays_of, batches_of, check_there, column_names, kind_of
from kdaif_client.errors import InvalidArgument

_ROW_GROUP_ROWS = 65_536


@contextmanager
def parquet_file(data: Any, name: str, y: Any = None, ids: Any = None) -> Iterator[Path]:
    """A Parquet file with these rows: the file itself where ``data`` is the path of one that has ids, else a new one.

    Files are read and written batch by batch. The new file is the same, byte for byte, whatever kind of file or table
    the rows came in, and is removed at the end.
    """
    if not isinstance(data, str | os.PathLike):
        with _temporary() as handle:
            _write(as_table(data, name, y, ids), handle)
            handle.close()
            yield Path(handle.name)
        return
    if y is not None or ids is not None:
        raise InvalidArgument.of("y and ids", "go with a numpy array; a file has its own columns")
    path = Path(data)
    check_there(path)
    if kind_of(path) == "npz":
        with parquet_file(arrays_of(path), name) as file:
            yield file
    elif kind_of(path) == "parquet" and "id" in column_names(path):
        yield path
    else:
        with _temporary() as handle:
            _stream(path, name, handle)
            handle.close()
            yield Path(handle.name)


@contextmanager
def _temporary() -> Iterator[Any]:
    with NamedTemporaryFile(prefix="kdaif-", suffix=".parquet", delete=False) as handle:
        try:
            yield handle
        finally:
            Path(handle.name).unlink(missing_ok=True)


def as_table(data: Any, name: str, y: Any = None, ids: Any = None) -> pa.Table:
    """The rows as an Arrow table of plain types with an ``id`` column."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(data, numpy.ndarray):
        table = _from_arrays({"image" if data.dtype == numpy.uint8 and data.ndim >= 3 else "features": data})
    elif y is not None or ids is not None:
        raise InvalidArgument.of("y and ids", "go with a numpy array; here put them into columns `label` and `id`")
    elif isinstance(data, pa.Table):
        table = data
    elif isinstance(data, Mapping):
        table = _from_arrays(data)
    elif _is_pandas(data):
        table = _from_pandas(data)
    elif hasattr(data, "__arrow_c_stream__"):  # polars, and whatever else speaks Arrow
        table = pa.table(data)
    else:
        raise InvalidArgument.of("data", f"is a {type(data).__name__}; upload_dataset takes {TAKEN}")
    for column, values in (("label", y), ("id", ids)):
        if values is not None:
            made = _column(column, values)
            if len(made) != table.num_rows:
                raise InvalidArgument.of(column, f"has {len(made)} values beside {table.num_rows} rows")
            table = table.append_column(column, made)
    if "id" not in table.column_names:
        table = table.add_column(0, "id", _made_ids(name, table.num_rows, 0, table.num_rows))
    return _plain(table)


def _write(table: pa.Table, handle: Any) -> None:
    with _writer(table.schema, handle) as writer:
        for start in range(0, max(table.num_rows, 1), _ROW_GROUP_ROWS):
            writer.write_table(table.slice(start, _ROW_GROUP_ROWS).combine_chunks())


def _stream(path: Path, name: str, handle: Any) -> None:
    """Writes the rows of a file as `_write` would write them."""
    with batches_of(path) as read:
        has_ids = "id" in read.schema.names
        total = 0 if has_ids else sum(batch.num_rows for batch in read.batches)
    with batches_of(path) as read:
        empty = read.schema.empty_table()
        schema = _plain(empty if has_ids else empty.add_column(0, "id", pa.array([], pa.string()))).schema
        start = 0
        with _writer(schema, handle) as writer:
            for group in _row_groups(read):
                if not has_ids:
                    group = group.add_column(0, "id", _made_ids(name, total, start, start + group.num_rows))
                start += group.num_rows
                writer.write_table(_plain(group).combine_chunks())


def _row_groups(read: Batches) -> Iterator[pa.Table]:
    """Tables of as many rows as a row group; the last has fewer, and where there are no rows it has none."""
    held: list[pa.RecordBatch] = []
    rows = written = 0
    for batch in read.batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= _ROW_GROUP_ROWS:
            table = pa.Table.from_batches(held, read.schema)
            yield table.slice(0, _ROW_GROUP_ROWS)
            written += _ROW_GROUP_ROWS
            rows -= _ROW_GROUP_ROWS
            held = table.slice(_ROW_GROUP_ROWS).to_batches()
    if rows or not written:
        yield pa.Table.from_batches(held, read.schema)


def _writer(schema: pa.Schema, handle: Any) -> pq.ParquetWriter:
    # Always the same options and group size: same rows, same bytes, same data set.
    return pq.ParquetWriter(handle, schema, compression="zstd", version="2.6")


def _is_pandas(data: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _from_pandas(frame: Any) -> pa.Table:
    if not all(isinstance(column, str) for column in frame.columns):
        raise InvalidArgument.of("data", f"has column names that are no text: {list(frame.columns)[:10]}")
    if not frame.columns.is_unique:
        raise InvalidArgument.of("data", "has a column name twice")
    arrays: dict[str, Any] = {}
    for name in frame.columns:
        series = frame[name]
        # Arrow takes no cells of two and more dimensions, which is what a column of pictures is.
        if series.dtype == object and len(series) and getattr(series.iloc[0], "ndim", 0) > 1:
            arrays[name] = _from_cells(name, list(series))
        else:
            arrays[name] = _column(name, series)
    return pa.table(arrays)


def _from_cells(name: str, cells: list[Any]) -> Any:
    numpy = sys.modules["numpy"]
    try:
        return _column(name, numpy.stack(cells))
    except (ValueError, TypeError) as error:
        raise InvalidArgument.of(name, f"has cells of different shapes: {error}") from None


def _from_arrays(arrays: Mapping[Any, Any]) -> pa.Table:
    if not arrays or not all(isinstance(name, str) for name in arrays):
        raise InvalidArgument.of("data", "needs columns, each under a name")
    columns = {name: _column(name, values) for name, values in arrays.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidArgument.of("data", f"has columns of different lengths: {lengths}")
    return pa.table(columns)


def _column(name: str, values: Any) -> Any:
    """One column. Matrices become lists of a fixed size, uint8 stacks of pictures become tensors, NaN labels null."""
    ndim = getattr(values, "ndim", 1)
    if ndim > 1:
        return _matrix(name, values)
    if ndim == 0:
        raise InvalidArgument.of(name, "is a single value; give one per row")
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidArgument.of(name, f"cannot become a column: {error}") from None


def _matrix(name: str, values: Any) -> Any:
    numpy = sys.modules["numpy"]
    if values.ndim == 2:
        if values.dtype.kind not in "fiub":
            raise InvalidArgument.of(name, f"is a matrix of {values.dtype}; give numbers")
        # Doubles beyond float32 become infinite here, and the server then names their rows.
        with numpy.errstate(over="ignore"):
            flat = numpy.ascontiguousarray(values, dtype=numpy.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])
    if values.dtype != numpy.uint8 or values.ndim > 4:
        raise InvalidArgument.of(
            name,
            f"is {values.dtype} {list(values.shape)}; pictures are uint8 [N, H, W] or [N, H, W, C], for values of "
            "0 to 1: (X * 255).round().astype(numpy.uint8)",
        )
    if len(values) == 0:
        raise InvalidArgument.of(name, "holds no pictures")
    return pa.FixedShapeTensorArray.from_numpy_ndarray(numpy.ascontiguousarray(values))


def _made_ids(name: str, total: int, start: int, stop: int) -> pa.Array:
    # The name is in the id, for the row numbers of two sets would collide.
    width = max(6, len(str(total)))
    return pa.array([f"{name or 'row'}-{row:0{width}d}" for row in range(start + 1, stop + 1)], pa.string())


def _plain(table: pa.Table) -> pa.Table:
    """One type for one meaning, whatever library the table is from, and no metadata that changes from run to run."""
    columns, schema = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        wanted = _plain_type(field.name, field.type)
        if wanted != field.type:
            try:
                column = _decoded(column, wanted) if pa.types.is_dictionary(field.type) else column.cast(wanted)
            except pa.ArrowException as error:
                raise InvalidArgument.of(field.name, f"cannot become {wanted}: {error}") from None
        if field.name in ("label", "truth") and pa.types.is_floating(wanted):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, wanted), column)
        columns.append(column)
        schema.append(pa.field(field.name, wanted))
    return pa.Table.from_arrays(columns, schema=pa.schema(schema))


def _decoded(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    # The values first: Arrow casts no dictionary of string views, which is what polars makes.
    return pa.chunked_array([each.dictionary.cast(wanted).take(each.indices) for each in column.chunks], wanted)


def _plain_type(name: str, type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
        is_input = name not in ("id", "label", "truth") and not name.startswith("group_")
        if is_input and pa.types.is_integer(type_):
            return pa.string()  # a categorical of numbers is one of names, and Parquet keeps no dictionary of numbers
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return pa.binary()
    if pa.types.is_large_list(type_):
        return pa.list_(type_.value_type)
    if name == "id" and pa.types.is_integer(type_):
        return pa.int64()
    return type_
