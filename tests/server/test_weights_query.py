import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_server import weights_query
from kdaif_server.services.weights import _columns

from kdaif.errors import InvalidInputError, NotFoundError
from kdaif.records.weights_table import weights_schema


def shard(folder: Path, ids: list[object], id_type: pa.DataType, influence: list[float]) -> Path:
    schema = weights_schema(id_type)
    columns = {name: [None] * len(ids) for name in schema.names}
    columns |= {"id": ids, "round": [1] * len(ids), "val_loss_change_if_upweighted": influence}
    file = folder / "shard.parquet"
    pq.write_table(pa.table(columns, schema=schema), file)
    return file


def test_pages_in_order_join_up_to_the_whole(tmp_path: Path) -> None:
    file = shard(tmp_path, list("abcdefg"), pa.string(), [0.3, -0.1, 0.3, 0.9, -2.0, 0.0, 0.3])
    order = weights_query.order_of("val_loss_change_if_upweighted desc")
    pages = [weights_query.page(file, order, offset=offset, limit=3).column("id").to_pylist() for offset in (0, 3, 6)]
    assert pages == [["d", "a", "c"], ["g", "f", "b"], ["e"]]
    assert weights_query.row_count(file) == 7


@pytest.mark.parametrize("order_by", ["weight; DROP TABLE x", "nothing", "weight up", "weight desc desc", "1"])
def test_an_order_that_is_no_column_is_refused(order_by: str) -> None:
    with pytest.raises(InvalidInputError, match="order_by"):
        weights_query.order_of(order_by)


def test_ids_come_in_the_order_asked_also_as_numbers(tmp_path: Path) -> None:
    file = shard(tmp_path, [1, 2, 3], pa.int64(), [0.1, 0.2, 0.3])
    assert weights_query.by_ids(file, ["3", "1"]).column("id").to_pylist() == [3, 1]


def test_unknown_ids_are_named(tmp_path: Path) -> None:
    file = shard(tmp_path, ["a", "b"], pa.string(), [0.1, 0.2])
    with pytest.raises(NotFoundError, match=r"1 id.*zz"):
        weights_query.by_ids(file, ["a", "zz"])
    with pytest.raises(InvalidInputError, match="ids"):
        weights_query.by_ids(shard(tmp_path, [1], pa.int64(), [0.0]), ["not a number"])


def test_overrides_travel_as_nan_where_there_are_none(tmp_path: Path) -> None:
    table = weights_query.page(shard(tmp_path, ["a", "b"], pa.string(), [0.1, 0.2]), "id", offset=0, limit=2)
    numbers = {name: pa.array([0.0, 0.0]) for name in table.column_names if table.column(name).type == pa.float32()}
    texts = {name: pa.array(["x", "x"]) for name in ("pseudo_label", "student_label")}
    columns = {name: table.column(name) for name in table.column_names} | numbers | texts
    given = pa.table(columns | {"weight_override": pa.array([None, 2.5], pa.float32())})
    sent = list(_columns(given, 3).weight_override)
    assert math.isnan(sent[0])
    assert sent[1] == 2.5
    none = pa.table(columns | {"weight_override": pa.nulls(2, pa.float32())})
    assert list(_columns(none, 3).weight_override) == []
    old = pa.table({name: column for name, column in columns.items() if name != "weight_override"})
    assert list(_columns(old, 3).weight_override) == []
