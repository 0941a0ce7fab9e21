from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import parse_filter
from kdaif_server.weights.pages import order_of, read_page

from kdaif.errors import InvalidInputError, NotFoundError
from tests.server.weights.shards import random_columns, write_shard


@pytest.mark.parametrize("order_by", ["", "id desc", "weight", "weight desc", "val_loss_change_if_upweighted desc"])
@pytest.mark.parametrize("filtered_by", ["", "weight < 0.7 AND NOT truth = 'dog'", "weight < -1"])
def test_pages_join_up_to_the_sorted_and_filtered_whole(tmp_path: Path, order_by: str, filtered_by: str) -> None:
    columns = random_columns(50)
    columns["weight"] = np.round(columns["weight"], 1)  # ties
    shard = write_shard(tmp_path, range(100, 150), columns, groups=["group_sex"], row_group_size=7)
    engine, condition, order = Engine(tmp_path), parse_filter(filtered_by, shard.schema), order_of(order_by)
    pages = [read_page(engine, shard, condition, order, offset=offset, limit=8) for offset in range(0, 56, 8)]

    rows = shard.take(np.arange(50)).to_pylist()
    if "weight < 0.7" in filtered_by:
        rows = [row for row in rows if row["weight"] < 0.7 and row["truth"] != "dog"]
    elif filtered_by:
        rows = []
    column, _, direction = (order_by or "id").partition(" ")
    rows.sort(key=lambda row: (-row[column] if direction else row[column], row["id"]))
    assert [row for page in pages for row in page.rows.to_pylist()] == rows
    assert {page.total for page in pages} == {len(rows)}


@pytest.mark.parametrize("order_by", ["weight; DROP TABLE x", "nothing", "weight up", "weight desc desc", "1"])
def test_an_order_that_is_no_column_is_refused(order_by: str) -> None:
    with pytest.raises(InvalidInputError, match="order_by"):
        order_of(order_by)


def test_ids_come_in_the_order_asked_also_as_numbers(tmp_path: Path) -> None:
    numbers = write_shard(tmp_path / "n", [1, 2, 3, 20, 30, 200], {"weight": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    assert numbers.rows_of(["200", "3", "1"]).column("id").to_pylist() == [200, 3, 1]
    names = write_shard(tmp_path / "s", sorted(["a", "é", "zz", "B", "10", "9", "日本"]), {})
    assert names.rows_of(["日本", "9", "é", "a"]).column("id").to_pylist() == ["日本", "9", "é", "a"]


def test_every_id_of_many_is_found_where_it_is(tmp_path: Path) -> None:
    ids = sorted(np.random.default_rng(3).choice(10_000, 500, replace=False).tolist())
    shard = write_shard(tmp_path, ids, {"weight": [float(value) for value in ids]}, row_group_size=17)
    found = shard.rows_of([str(value) for value in reversed(ids)])
    assert found.column("weight").to_pylist() == [float(value) for value in reversed(ids)]


def test_unknown_ids_are_named(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s", ["b", "d"], {})
    for unknown in ("a", "c", "zz"):
        with pytest.raises(NotFoundError, match=rf"1 id\(s\) are not in this job: {unknown}"):
            shard.rows_of(["b", unknown])
    with pytest.raises(InvalidInputError, match="whole numbers"):
        write_shard(tmp_path / "n", [1], {}).rows_of(["not a number"])
