"""Rows of a data set as a person sees them: pictures, texts, or values by name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kdaif.presentation import data_uri, numerals
from kdaif_server.weights.engine import Engine, quoted

_HIDDEN = ("id", "truth", "weight_override")  # told beside the row
_MOST_COLUMNS = 400
_MOST_LISTED = 8
_LONGEST_TEXT = 4_000
_MOST_PIXELS_A_SIDE = 4096


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        picture: as a ``data:`` address, empty where the row is none.
        text: the row, where it is a text.
        values: the other columns, written out.
        more: how many columns there are beyond these.
    """

    picture: str = ""
    text: str = ""
    values: tuple[tuple[str, str], ...] = ()
    more: int = 0


def read_rows(engine: Engine, file: Path, ids: Sequence[str]) -> dict[str, Row]:
    """The rows of these ids, by id; ids that the file lacks are left out. Costs a scan of the column of ids.

    Args:
        engine: that scans.
        file: Parquet with a column ``id``.
        ids: as text.
    """
    schema = pq.read_schema(file)
    wanted = _typed(ids, schema) if "id" in schema.names else []
    if not wanted:
        return {}
    shown = [name for name in schema.names if name not in _HIDDEN and not name.startswith(("group_", "__"))]
    columns = ", ".join(quoted(name) for name in ["id", *shown[:_MOST_COLUMNS]])
    # Columns of the file's own, quoted; the ids are parameters.
    sql = f"SELECT {columns} FROM read_parquet(?) WHERE id IN ({', '.join('?' * len(wanted))})"  # noqa: S608
    table = engine.table(sql, [str(file), *wanted])
    more = max(0, len(shown) - _MOST_COLUMNS)
    return {str(table["id"][place].as_py()): _row(table, schema, place, more) for place in range(table.num_rows)}


def _typed(ids: Sequence[str], schema: pa.Schema) -> list[Any]:
    if not pa.types.is_integer(schema.field("id").type):
        return list(ids)
    return [int(value) for value in ids if value.removeprefix("-").isdecimal()]


def _row(table: pa.Table, schema: pa.Schema, place: int, more: int) -> Row:
    picture = text = ""
    values = []
    for name in table.column_names[1:]:
        cell = table[name][place]
        if name == "image":
            picture = _picture(cell, schema.field(name).type)
        elif name == "text" and cell.as_py() is not None:
            text = str(cell.as_py())[:_LONGEST_TEXT]
        else:
            values.append((name, _written(cell)))
    return Row(picture, text, tuple(values), more)


def _picture(cell: pa.Scalar, declared: pa.DataType) -> str:
    """Empty for what is no picture."""
    if not cell.is_valid:
        return ""
    if isinstance(declared, pa.FixedShapeTensorType):
        pixels = cell.values.to_numpy(zero_copy_only=False)
        if pixels.dtype != np.uint8 or pixels.size != np.prod(declared.shape):
            return ""
        return data_uri(pixels.reshape(declared.shape))
    data = cell.as_py()
    return _decoded(data) if isinstance(data, bytes) else ""


def _decoded(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if max(picture.size) > _MOST_PIXELS_A_SIDE:
                return ""
            return data_uri(np.asarray(picture.convert("L" if picture.mode == "L" else "RGB")))
    except Exception:  # Pillow's readers raise whatever a damaged file makes them stumble over
        return ""


def _written(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if isinstance(value, float):
        return numerals.number(value)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list | dict):
        listed = [numerals.number(each) for each in list(value)[:_MOST_LISTED]]
        rest = len(value) - len(listed)
        return ", ".join(listed) + (f" and {rest:,} more" if rest > 0 else "")
    return numerals.NONE if value is None else str(value)[:_LONGEST_TEXT]
