"""Every rejected row is kept by id with its reason, and a share of them refuses the job."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from kdaif.datasets import check
from kdaif.datasets.findings import Findings
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, column_teacher, pair

NAN = float("nan")


def test_every_rejected_row_is_there_once_with_its_reason(job: MakeJob) -> None:
    teacher: list[Any] = [[2.0, -1.0, 0.0]] * 90
    teacher[3] = None
    tables = pair(teacher_logits=teacher)
    tables["unlabeled"] = tables["unlabeled"].set_column(1, "x", pa.array([NAN, None, *range(2, 90)], pa.float64()))
    labels = [None, *tables["labeled"]["label"].to_pylist()[1:]]
    tables["labeled"] = tables["labeled"].set_column(3, "label", pa.array(labels))
    made = job(tables, teacher=column_teacher())
    checked = check(made.spec, made.files)
    rows = checked.rejected.to_pylist()
    assert [(row["data_set"], row["id"], row["code"], row["field"]) for row in rows] == [
        ("unlabeled", "u1", "NULL_FEATURE", "spec.unlabeled"),
        ("unlabeled", "u0", "NON_FINITE_FEATURE", "spec.unlabeled"),
        ("labeled", "l0", "NULL_LABEL", "spec.labeled"),
        ("unlabeled", "u3", "TEACHER_ROW_MISSING", "spec.unlabeled"),
    ]
    assert all("not used" in row["reason"] for row in rows)
    assert checked.report == made.preflight()
    assert len(made.prepare().unlabeled) == 87


def test_rows_that_two_parts_share_are_rejected_where_they_are_dropped(job: MakeJob) -> None:
    tables = pair()
    tables["unlabeled"] = pa.concat_tables(
        [tables["unlabeled"], tables["labeled"].slice(0, 4).drop_columns("label").set_column(0, "id", [list("abcd")])]
    )
    made = job(tables)
    rejected = check(made.spec, made.files).rejected
    assert rejected["id"].to_pylist() == list("abcd")
    assert set(rejected["code"].to_pylist()) == {"UNLABELED_ROW_IN_LABELED"}


def test_integer_ids_become_text_and_a_hundred_thousand_rows_stay_compact() -> None:
    findings = Findings()
    ids = pa.array(range(100_000), pa.int64())
    bad = ids.to_numpy() % 2 == 0
    findings.reject("NULL_FEATURE", "spec.unlabeled", "an input value is null", ids, bad)
    table = findings.rejected()
    assert table["id"][:2].to_pylist() == ["0", "2"]
    assert len(table) == 50_000
    assert table.nbytes < 50_000 * (5 + 4 + 4 * 4) * 1.1  # id text, its offset, four dictionary codes


def test_no_rejected_row_gives_an_empty_table_of_the_same_form(job: MakeJob) -> None:
    made = job(pair())
    table = check(made.spec, made.files).rejected
    assert (len(table), table.column_names) == (0, ["data_set", "id", "code", "field", "reason"])


@pytest.mark.parametrize(("most", "refused"), [(0.0, True), (0.02, True), (0.03, False), (1.0, False)])
def test_the_bound_on_the_share_is_the_spec_s(job: MakeJob, most: float, refused: bool) -> None:
    made = job(pair(x=[NAN, NAN, *map(float, range(88))]), checks={"max_rejected_share": most})
    assert ("TOO_MANY_REJECTED" in made.codes()) is refused
    if refused:
        finding = made.finding("TOO_MANY_REJECTED")
        assert finding.severity is Severity.ERROR
        assert "2 of 90 rows are unusable, a share of 0.02222" in finding.message
        assert f"max_rejected_share allows {most:.4g}" in finding.message
        assert "raise the bound" in finding.message


def test_a_bound_of_one_lets_even_a_part_without_rows_through_to_the_next_check(job: MakeJob) -> None:
    made = job(pair(x=[NAN] * 90), checks={"max_rejected_share": 1.0})
    assert "NO_ROWS_LEFT" in made.codes()
    assert len(check(made.spec, made.files).rejected) == 90
