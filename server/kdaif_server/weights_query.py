"""Queries over one weights shard, pushed down into Parquet by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from kdaif.errors import InvalidInputError, NotFoundError

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


def order_of(order_by: str) -> str:
    """The SQL order for ``column`` or ``column desc``, made of known words only. Ties are broken by id."""
    words = order_by.split() or ["id"]
    column, direction = words[0], words[1].lower() if len(words) == 2 else "asc"
    if column not in _ORDERABLE or direction not in ("asc", "desc") or len(words) > 2:
        raise InvalidInputError.of(
            "order_by", f"is {order_by!r}; write a column and optionally desc, with one of {', '.join(_ORDERABLE)}"
        )
    return f"{column} {direction} NULLS LAST" + ("" if column == "id" else ", id")


def page(file: Path, order: str, *, offset: int, limit: int) -> pa.Table:
    """``limit`` rows of the shard from ``offset`` on, in ``order`` (from ``order_of``)."""
    # `order` is made of words of ours alone; the values are bound.
    sql = f"SELECT * FROM read_parquet(?) ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
    with duckdb.connect() as connection:
        return connection.sql(sql, params=[str(file), limit, offset]).to_arrow_table()


def row_count(file: Path) -> int:
    """Rows of the shard, from its footer."""
    return int(pq.read_metadata(file).num_rows)


def by_ids(file: Path, ids: Sequence[str]) -> pa.Table:
    """The rows of ``ids``, in that order. Raises NotFoundError naming the first ten that are missing."""
    id_type = pq.read_schema(file).field("id").type
    try:
        wanted = pa.array(ids, pa.string()).cast(id_type)
    except pa.ArrowInvalid as error:
        raise InvalidInputError.of("ids", f"must be of type {id_type} in this job: {error}") from error
    with duckdb.connect() as connection:
        connection.register("wanted", pa.table({"id": wanted, "place": pa.array(range(len(ids)), pa.int64())}))
        found = connection.sql(
            "SELECT shard.* FROM wanted JOIN read_parquet(?) AS shard USING (id) ORDER BY place", params=[str(file)]
        ).to_arrow_table()
    if found.num_rows < len(ids):
        known = set(found.column("id").cast(pa.string()).to_pylist())
        missing = [asked for asked in ids if asked not in known]
        raise NotFoundError(f"{len(missing)} id(s) are not in this job: {', '.join(missing[:10])}")
    return found
