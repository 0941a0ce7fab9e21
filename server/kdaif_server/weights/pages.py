"""Pages of a shard in any order and under any filter."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import EVERY_ROW, Condition
from kdaif_server.weights.shard import Shard

_ORDERABLE = (
    "id",
    "weight",
    "val_loss_change_if_upweighted",
    "stderr",
    "log_odds",
    "teacher_confidence",
    "student_confidence",
    "distillation_loss",
)
_BY_ID = "id asc NULLS LAST"
_ROW = np.dtype("<i8")


@dataclass(frozen=True)
class Page:
    """Rows in order, and how many the whole listing has."""

    rows: pa.Table
    total: int


def order_of(order_by: str) -> str:
    """The SQL order for ``column`` or ``column desc``, made of known words only. Ties are broken by id."""
    words = order_by.split() or ["id"]
    column, direction = words[0], words[1].lower() if len(words) == 2 else "asc"
    if column not in _ORDERABLE or direction not in ("asc", "desc") or len(words) > 2:
        raise InvalidInputError.of(
            "order_by", f"is {order_by!r}; write a column and optionally desc, with one of {', '.join(_ORDERABLE)}"
        )
    return f"{column} {direction} NULLS LAST" + ("" if column == "id" else ", id")


def read_page(engine: Engine, shard: Shard, condition: Condition, order: str, *, offset: int, limit: int) -> Page:
    """``limit`` rows from ``offset`` on.

    The first page of an order and filter costs a scan, which leaves the numbers of its rows in a file beside the shard;
    every page then is a look-up.

    Args:
        engine: that scans.
        shard: of the round.
        condition: from `parse_filter`.
        order: from `order_of`.
        offset: rows before the page.
        limit: most rows on the page.
    """
    if condition == EVERY_ROW and order == _BY_ID:
        end = min(offset + limit, shard.row_count)
        return Page(shard.take(np.arange(min(offset, end), end)), shard.row_count)
    selected = _selection(engine, shard, condition, order)
    return Page(shard.take(np.asarray(selected[offset : offset + limit])), len(selected))


def _selection(engine: Engine, shard: Shard, condition: Condition, order: str) -> NDArray[np.int64]:
    """Row numbers, mapped."""
    query = f"{condition.sql}\n{condition.parameters!r}\n{order}"
    digest = hashlib.sha256(query.encode()).hexdigest()[:24]
    target = shard.parquet.with_suffix(f".{digest}.rows")
    if target.exists():
        os.utime(target)
    else:
        # Condition and order hold quoted columns and words of ours; every value of the user's is a parameter.
        sql = (
            f"SELECT file_row_number FROM read_parquet(?, file_row_number = true) "  # noqa: S608
            f"WHERE {condition.sql} ORDER BY {order}"
        )
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
            try:
                for batch in engine.batches(sql, [str(shard.parquet), *condition.parameters], 65_536):
                    part.write(batch.column(0).to_numpy().astype(_ROW).tobytes())
                Path(part.name).replace(target)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    if not target.stat().st_size:
        return np.empty(0, dtype=np.int64)
    return np.memmap(target, dtype=_ROW, mode="r")
