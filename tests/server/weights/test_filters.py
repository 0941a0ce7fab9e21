from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import EVERY_ROW, MOST_CHARACTERS, parse_filter
from kdaif_server.weights.shard import Shard

from kdaif.errors import InvalidInputError
from tests.server.weights.shards import random_columns, write_shard

Row = dict[str, Any]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return write_shard(
        tmp_path_factory.mktemp("shard"), range(60), random_columns(60), groups=["group_sex"], row_group_size=16
    )


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("spill"))


def ids(engine: Engine, shard: Shard, text: str) -> list[int]:
    condition = parse_filter(text, shard.schema)
    sql = f"SELECT id FROM read_parquet(?) WHERE {condition.sql} ORDER BY id"  # noqa: S608
    return engine.table(sql, [str(shard.parquet), *condition.parameters]).column("id").to_pylist()


def expected(shard: Shard, holds: Callable[[Row], bool]) -> list[int]:
    return [row["id"] for row in shard.take(np.arange(shard.row_count)).to_pylist() if holds(row)]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", lambda row: True),
        ("weight < 0.2", lambda row: row["weight"] < 0.2),
        (
            'group_sex = "F" AND weight < 0.5 AND pseudo_label = "cat"',
            lambda row: row["group_sex"] == "F" and row["weight"] < 0.5 and row["pseudo_label"] == "cat",
        ),
        ("pseudo_label in ('cat', 'eel')", lambda row: row["pseudo_label"] in ("cat", "eel")),
        ("pseudo_label NOT IN ('cat')", lambda row: row["pseudo_label"] != "cat"),
        ("truth = NULL", lambda row: row["truth"] is None),
        ("truth != null", lambda row: row["truth"] is not None),
        ("truth != 'cat'", lambda row: row["truth"] != "cat"),
        ("not truth = 'cat'", lambda row: row["truth"] != "cat"),
        ("id >= 10 and id<=20", lambda row: 10 <= row["id"] <= 20),
        ("id = 3 OR id = 5 AND weight < 0", lambda row: row["id"] == 3),
        ("(id = 3 OR id = 5) AND weight >= 0", lambda row: row["id"] in (3, 5)),
        ("NOT (group_sex = 'F' OR truth = 'dog')", lambda row: row["group_sex"] != "F" and row["truth"] != "dog"),
        ("val_loss_change_if_upweighted > -1e-1", lambda row: row["val_loss_change_if_upweighted"] > -0.1),
        ("`group_sex`='M'", lambda row: row["group_sex"] == "M"),
        ("weight_override = NULL AND id < 2", lambda row: row["id"] < 2),
    ],
)
def test_a_filter_finds_the_rows_that_it_describes(
    engine: Engine, shard: Shard, text: str, holds: Callable[[Row], bool]
) -> None:
    assert ids(engine, shard, text) == expected(shard, holds)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("weight", "cannot be read at its end"),
        ("weight < ", "cannot be read at its end"),
        ("weight < 'a'", "leave the quotes away"),
        ("pseudo_label = 3", "put the value in quotes"),
        ("pseudo_label < 'cat'", "use =, != or IN"),
        ("colour = 'red'", "names 'colour', which is no column"),
        ("weight < NULL", "only = or != NULL"),
        ("truth IN (NULL)", "lists NULL"),
        ("1 = 1", "cannot be read at '1 = 1'"),
        ("weight < 1; DROP TABLE x", "cannot be read at '; DROP"),
        ("weight < 1 -- comment", "cannot be read"),
        ("weight < 1) OR (1=1", "cannot be read"),
        ('pseudo_label = "cat', "cannot be read"),
        ("(" * 60 + "weight < 1" + ")" * 60, "nested more than 50 deep"),
        ("weight < 1 AND " * 400 + "weight < 1", f"use at most {MOST_CHARACTERS:,}"),
    ],
)
def test_what_cannot_be_read_says_why(shard: Shard, text: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match="filter") as caught:
        parse_filter(text, shard.schema)
    assert why in str(caught.value)


@given(value=st.text(max_size=30))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_value_is_bound_and_never_part_of_the_sql(engine: Engine, shard: Shard, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    condition = parse_filter(f'pseudo_label = "{escaped}"', shard.schema)
    assert condition.sql == '"pseudo_label" = ?'
    assert condition.parameters == (value,)


_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


@st.composite
def filters(draw: st.DrawFn, depth: int = 0) -> tuple[str, Callable[[Row], bool]]:
    kind = draw(st.sampled_from(["number", "text", "null"] + (["and", "or", "not"] if depth < 4 else [])))
    match kind:
        case "number":
            sign, bound = draw(st.sampled_from(sorted(_OPERATORS))), draw(st.integers(0, 60))
            return f"id {sign} {bound}", lambda row: _OPERATORS[sign](row["id"], bound)
        case "text":
            column, name = draw(st.sampled_from(["truth", "group_sex", "pseudo_label"])), draw(st.sampled_from("FM"))
            equal = draw(st.booleans())
            return f"{column} {'=' if equal else '!='} '{name}'", lambda row: (row[column] == name) == equal
        case "null":
            return "truth = NULL", lambda row: row["truth"] is None
        case "not":
            text, holds = draw(filters(depth + 1))
            return f"NOT ({text})", lambda row: not holds(row)
        case _:
            (a, first), (b, second) = draw(filters(depth + 1)), draw(filters(depth + 1))
            both = kind == "and"
            return (
                f"({a}) {kind} ({b})",
                lambda row: (first(row) and second(row)) if both else first(row) or second(row),
            )


@given(drawn=filters())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_filter_means_the_same_as_in_python(
    engine: Engine, shard: Shard, drawn: tuple[str, Callable[[Row], bool]]
) -> None:
    text, holds = drawn
    assert ids(engine, shard, text) == expected(shard, holds)


@given(text=st.text(max_size=80))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_text_does_more_than_be_refused(engine: Engine, shard: Shard, text: str) -> None:
    try:
        ids(engine, shard, text)
    except InvalidInputError as error:
        field = error.violations[0].field
    else:
        return
    assert field == "filter"


def test_an_odd_column_name_is_quoted(tmp_path: Path, engine: Engine) -> None:
    odd = 'group_a "b" c'
    shard = write_shard(tmp_path, [1, 2], {odd: ["u", "v"]}, groups=[odd])
    assert ids(engine, shard, f"`{odd}` = 'v'") == [2]
    assert parse_filter("  ", shard.schema) == EVERY_ROW
