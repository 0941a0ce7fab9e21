"""What is found and kept does not depend on how few rows are read at a time, nor on where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets import DistillationData, Rows, check, overlaps, prepare, table_file
from kdaif.datasets.table_file import TableFile
from kdaif.errors import InvalidInputError
from kdaif.scratch import Scratch
from tests.kdaif.datasets.conftest import Job, MakeJob, column_teacher, numbers, pair
from tests.kdaif.datasets.test_cases import RIGHT, ROWS, logits
from tests.kdaif.datasets.test_pictures import encoded, pixels
from tests.kdaif.datasets.test_pictures import sets as picture_sets
from tests.kdaif.datasets.test_texts import READER, SMALL, sentences
from tests.kdaif.datasets.test_texts import sets as text_sets

NAN = float("nan")


def table(job: MakeJob) -> Job:
    """Categories, nulls, text labels, groups, rows shared with the labelled set, and a test set of new categories."""
    labeled = {**numbers(60, seed=1, prefix="l"), "city": ["Bern", "Ulm", "Aarau"] * 20, "group_site": ["n", None] * 30}
    own = numbers(90, seed=2, prefix="u", labels=None)
    own["x"][:3], own["y"][3], own["x"][70:72] = [NAN, None, labeled["x"][0]], NAN, labeled["x"][5:7]
    own["y"][2], own["y"][70:72] = labeled["y"][0], labeled["y"][5:7]
    unlabeled = {
        **own,
        "city": [None, *["Ulm", "Bern"] * 44, "Rome"],
        "group_site": ["s"] * 90,
        "truth": ["c1", None, "c9", *["c0"] * 87],
        "weight_override": [None] * 80 + [2.5] * 10,
    }
    unlabeled["city"][2], unlabeled["city"][70:72] = "Bern", ["Aarau", "Bern"]
    test = {**numbers(30, seed=3, prefix="t"), "city": ["Oslo", *["Ulm"] * 29], "group_site": ["n"] * 30}
    tables = {"labeled": pa.table(labeled), "unlabeled": pa.table(unlabeled), "test": pa.table(test)}
    return job(tables, inputs={"nullable_columns": ["city"], "max_categories": 3})


def vectors(job: MakeJob) -> Job:
    rows: list[Any] = np.random.default_rng(0).normal(size=(150, 3)).tolist()
    rows[70], rows[90] = None, [1.0, NAN, 2.0]
    labeled = pa.table({"id": np.arange(60), "features": rows[:60], "label": ["a", "b"] * 30})
    return job({"labeled": labeled, "unlabeled": pa.table({"id": np.arange(90), "features": rows[60:]})})


def tensors(job: MakeJob) -> Job:
    def images(rows: int, seed: int, **columns: Any) -> pa.Table:
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels(rows, seed=seed))
        return pa.table({"id": np.arange(rows), "image": tensor, **columns})

    return job({"labeled": images(40, 0, label=["a", "b"] * 20), "unlabeled": images(50, 1)}, student={"kind": "cnn"})


def pictures(job: MakeJob) -> Job:
    good = [encoded(each) for each in pixels(80, seed=0)]
    other = [b"no picture", good[0][: len(good[0]) // 2], None, encoded(pixels(1, seed=1, shape=(7, 5, 3))[0])]
    return job(picture_sets(good[:40], [*good[40:60], *other, *good[60:]]))


def texts(job: MakeJob) -> Job:
    return job(text_sets(sentences(60), [None, *sentences(40, 100), "\t", *sentences(3)]), inputs=SMALL, **READER)


def teacher(job: MakeJob) -> Job:
    """Outputs in another order and another file, of which rows are missing, broken and of nobody."""
    rows: list[Any] = np.eye(3)[RIGHT].tolist()
    rows[41], rows[7], rows[60] = [NAN, 0.0, 0.0], None, [0.5, 0.1, 0.1]
    named = pa.table({"id": [f"u{row}" for row in range(1, ROWS)] + ["x"], "teacher_probabilities": rows})
    tables = {**pair(), "teacher": named.take(np.random.default_rng(0).permutation(ROWS))}
    return job(tables, teacher=column_teacher("probabilities", ("c2", "c0", "c1"), dataset=f"{4:032x}"))


def votes(job: MakeJob) -> Job:
    given = [[f"c{right}", None, "c1"] for right in RIGHT]
    given[5] = []
    return job(pair(teacher_label=given), teacher={"source": {"kind": "column", "outputs": "label"}})


def wrong_votes(job: MakeJob) -> Job:
    given = [f"c{right}" for right in RIGHT]
    given[5], given[60], given[61] = "d", "e", "d"
    return job(pair(teacher_label=given), teacher={"source": {"kind": "column", "outputs": "label"}})


def wrong_logits(job: MakeJob) -> Job:
    rows = logits()
    rows[44] = rows[44][:2]
    return job(pair(teacher_logits=rows), teacher=column_teacher())


KINDS = [table, vectors, tensors, pictures, texts, teacher, votes]


def same_rows(one: Rows, other: Rows) -> None:
    for name in ("features", "labels", "truth", "teacher_logits", "weight_override"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.ids.tolist() == other.ids.tolist()
    assert (one.texts is None) == (other.texts is None)
    assert list(one.texts or ()) == list(other.texts or ())
    assert {name: list(values) for name, values in one.groups.items()} == {
        name: list(values) for name, values in other.groups.items()
    }


def same(one: DistillationData, other: DistillationData) -> None:
    assert (one.class_names, one.signature, one.report) == (other.class_names, other.signature, other.report)
    for name in ("labeled", "validation", "gate", "unlabeled", "test"):
        same_rows(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_the_same_however_few_are_read_at_a_time(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[MakeJob], Job]
) -> None:
    made = kind(job)
    whole, checked = made.prepare(), check(made.spec, made.files)
    monkeypatch.setattr(table_file, "_MOST_BATCH_ROWS", 7)
    monkeypatch.setattr(overlaps, "_ROWS_AT_ONCE", 9)
    scratch = Scratch(tmp_path / "scratch", most_in_memory_bytes=16)
    data = prepare(made.spec, made.files, scratch)
    assert not data.unlabeled.features.flags.owndata
    scratch.release()
    same(data, whole)
    again = check(made.spec, made.files)
    assert (again.report, again.estimate) == (checked.report, checked.estimate)
    assert again.rejected.equals(checked.rejected)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("kind", [wrong_votes, wrong_logits])
def test_refusals_are_the_same_however_few_rows_are_read_at_a_time(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch, kind: Callable[[MakeJob], Job]
) -> None:
    made = kind(job)
    whole = made.preflight()
    assert whole.errors
    monkeypatch.setattr(table_file, "_MOST_BATCH_ROWS", 7)
    assert made.preflight() == whole


def test_a_file_damaged_behind_its_footer_is_refused_by_name(job: MakeJob) -> None:
    made = job(pair())
    whole = bytearray(made.files["unlabeled"].read_bytes())
    whole[100:400] = b"\xff" * 300
    made.files["unlabeled"].write_bytes(whole)
    finding = made.finding("UNREADABLE_FILE")
    assert finding.field == "spec.unlabeled"
    assert "no readable Parquet file" in finding.message
    with pytest.raises(InvalidInputError) as caught:
        made.prepare()
    assert [violation.field for violation in caught.value.violations] == ["spec.unlabeled"]


@pytest.mark.parametrize("promised", [9, 11])
def test_a_footer_that_lies_about_its_rows_is_refused(tmp_path: Path, promised: int) -> None:
    pq.write_table(pa.table({"id": np.arange(10)}), tmp_path / "lie.parquet")
    file = replace(TableFile.of(tmp_path / "lie.parquet", "spec.test"), num_rows=promised)
    with pytest.raises(InvalidInputError, match=f"promises {promised} rows"):
        list(file.column("id"))


def test_names_with_dots_are_columns_like_others(tmp_path: Path) -> None:
    columns = {"a": [1.0, 2.0], "a.b": [3.0, 4.0], "a.b.c": [[5.0], [6.0]]}
    pq.write_table(pa.table(columns), tmp_path / "dots.parquet")
    file = TableFile.of(tmp_path / "dots.parquet", "spec.test")
    assert file.row_bytes == {"a": 8, "a.b": 8, "a.b.c": 8}
    for name, values in columns.items():
        assert [value for _, run in file.column(name) for value in run.to_pylist()] == values
