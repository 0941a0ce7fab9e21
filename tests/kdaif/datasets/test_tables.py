"""Columns of names, of integers that are names, and of nulls that are values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, numbers, pair
from tests.kdaif.datasets.real_data import adult


def with_columns(labeled: dict[str, Any], unlabeled: dict[str, Any], test: dict[str, Any] | None = None) -> Any:
    tables = {
        "labeled": pa.table({**numbers(60, seed=1, prefix="l"), **labeled}),
        "unlabeled": pa.table({**numbers(90, seed=2, prefix="u", labels=None), **unlabeled}),
    }
    if test is not None:
        tables["test"] = pa.table({**numbers(30, seed=3, prefix="t"), **test})
    return tables


def cities(*names: str | None, rows: int) -> list[str | None]:
    return [names[row % len(names)] for row in range(rows)]


def test_names_become_codes_and_both_training_sets_decide_on_them(job: MakeJob) -> None:
    tables = with_columns(
        {"city": cities("Bern", "Ulm", rows=60)}, {"city": cities("Ulm", "Aarau", rows=90)}, {"city": ["Ulm"] * 30}
    )
    data = job(tables).prepare()
    assert data.signature.categories == ((), (), ("Aarau", "Bern", "Ulm"))
    assert data.signature.nullable == ()
    stored = dict(zip(tables["unlabeled"]["id"].to_pylist(), tables["unlabeled"]["city"].to_pylist(), strict=True))
    code_of = {"Aarau": 1.0, "Bern": 2.0, "Ulm": 3.0}
    assert [code_of[stored[i]] for i in data.unlabeled.ids] == data.unlabeled.features[:, 2].tolist()
    assert data.unlabeled.features.dtype == np.float32
    assert set(data.test.features[:, 2]) == {3.0}


@pytest.mark.parametrize(
    ("values", "spec", "names"),
    [
        (pa.array(["b", "a"] * 45).dictionary_encode(), {}, ("a", "b")),
        (pa.array([7, 10] * 45, pa.uint8()), {"categorical_columns": ["kind"]}, ("10", "7")),
        (pa.array([True, False] * 45), {}, ("false", "true")),
        (pa.array(["b", "a"] * 45, pa.string_view()), {}, ("a", "b")),
        (pa.array([2**60, 2**60 + 1] * 45), {"categorical_columns": ["kind"]}, (str(2**60), str(2**60 + 1))),
    ],
)
def test_what_is_categorical(job: MakeJob, values: pa.Array, spec: dict[str, Any], names: tuple[str, ...]) -> None:
    data = job(with_columns({"kind": values[:60]}, {"kind": values}), inputs=spec).prepare()
    assert data.signature.categories[2] == names
    assert set(data.unlabeled.features[:, 2]) == {1.0, 2.0}


def test_integers_that_are_not_named_stay_numbers(job: MakeJob) -> None:
    data = job(with_columns({"kind": [7, 10] * 30}, {"kind": [7, 10] * 45})).prepare()
    assert data.signature.categories == ()
    assert set(data.unlabeled.features[:, 2]) == {7.0, 10.0}


@pytest.mark.parametrize(
    ("inputs", "code", "field"),
    [
        ({"categorical_columns": ["town"]}, "UNKNOWN_COLUMN", "spec.inputs.categorical_columns"),
        ({"nullable_columns": ["town"]}, "UNKNOWN_COLUMN", "spec.inputs.nullable_columns"),
        ({"categorical_columns": ["x"]}, "NOT_CATEGORICAL", "spec.inputs.categorical_columns"),
        ({"image_height": 8, "image_width": 8}, "IMAGE_SIZE_NOT_USED", "spec.inputs.image_height"),
    ],
)
def test_inputs_that_cannot_be_are_refused_by_name(job: MakeJob, inputs: dict[str, Any], code: str, field: str) -> None:
    finding = job(pair(), inputs=inputs).finding(code)
    assert (finding.severity, finding.field) == (Severity.ERROR, field)
    name = next(iter(inputs.values()))[0] if "columns" in field else "image_height"
    assert name in finding.message


def test_a_list_column_among_others_is_refused_by_name(job: MakeJob) -> None:
    made = job(with_columns({"bag": [[1.0]] * 60}, {"bag": [[1.0]] * 90}), inputs={"categorical_columns": ["bag"]})
    assert {"'bag'" in finding.message for finding in made.preflight().errors} == {True}


def test_the_most_frequent_categories_are_kept_ties_by_name(job: MakeJob) -> None:
    tables = with_columns({"city": cities("d", "c", "b", rows=60)}, {"city": cities("a", "d", rows=90)})
    made = job(tables, inputs={"max_categories": 2})
    finding = made.finding("MANY_CATEGORIES")
    assert "'city' holds 4 different values; 2 of them" in finding.message
    data = made.prepare()
    assert data.signature.categories[2] == ("a", "d")  # d 65, a 45, b and c 20
    assert {0.0} == set(data.labeled.features[:, 2]) - {2.0}
    tied = job(with_columns({"city": cities("c", "b", "a", rows=60)}, {"city": cities("c", "b", "a", rows=90)}),
               inputs={"max_categories": 2})  # fmt: skip
    assert tied.prepare().signature.categories[2] == ("a", "b")


def test_a_text_of_a_page_is_no_category(job: MakeJob) -> None:
    page = "ä" * 200
    made = job(with_columns({"note": cities("short", page, rows=60)}, {"note": ["short"] * 90}))
    assert "over 256 bytes" in made.finding("MANY_CATEGORIES").message
    assert made.prepare().signature.categories[2] == ("short",)


def test_a_column_of_nulls_alone_is_refused(job: MakeJob) -> None:
    nulls = pa.nulls(90, pa.string())
    made = job(with_columns({"city": nulls[:60]}, {"city": nulls}), inputs={"nullable_columns": ["city"]})
    assert "'city'" in made.finding("NO_CATEGORIES").message


def test_unseen_categories_of_held_out_rows_are_told(job: MakeJob) -> None:
    tables = with_columns(
        {"city": ["Ulm", "Bern"] * 30}, {"city": ["Ulm"] * 90}, {"city": ["Oslo", "Rome", None, *["Ulm"] * 27]}
    )
    made = job(tables, inputs={"nullable_columns": ["city"]})
    finding = made.finding("UNSEEN_CATEGORY")
    assert (finding.severity, finding.field, finding.row_count) == (Severity.INFO, "spec.test", 2)
    assert finding.ids == ("t0", "t1")
    test = made.prepare().test
    assert test.features[np.isin(test.ids, ["t0", "t1", "t2"]), 2].tolist() == [0.0, 0.0, 0.0]


def test_nulls_are_values_where_the_spec_says_so(job: MakeJob) -> None:
    x = [None, float("nan"), float("inf"), *range(87)]
    city = [None, "Ulm", *["Bern"] * 88]
    tables = with_columns({"city": ["Ulm"] * 60}, {"x": pa.array(x, pa.float64()), "city": city})
    made = job(tables, inputs={"nullable_columns": ["x", "city"]})
    assert made.finding("NON_FINITE_FEATURE").ids == ("u2",)
    assert "NULL_FEATURE" not in made.codes()
    data = made.prepare()
    assert data.signature.nullable == (True, False, True)
    assert data.unlabeled.ids[:3].tolist() == ["u0", "u1", "u3"]
    assert np.isnan(data.unlabeled.features[:3, 0]).tolist() == [True, True, False]
    assert data.unlabeled.features[:3, 2].tolist() == [0.0, 2.0, 1.0]


def test_d15_a_null_elsewhere_rejects_its_row_and_says_how_to_keep_it(job: MakeJob) -> None:
    tables = with_columns({"city": ["Ulm", "Bern"] * 30}, {"city": [None, *["Ulm"] * 89]})
    finding = job(tables).finding("NULL_FEATURE")
    assert (finding.row_count, finding.ids) == (1, ("u0",))
    assert "'city'" in finding.message
    assert "inputs.nullable_columns" in finding.message


@pytest.mark.parametrize("there", [pa.array([1.0] * 90), pa.array([3] * 90), pa.array([True] * 90)])
def test_columns_of_another_type_are_refused_by_name(job: MakeJob, there: pa.Array) -> None:
    made = job(with_columns({"city": ["Ulm", "Bern"] * 30}, {"city": there}))
    finding = made.finding("OTHER_COLUMN_TYPE")
    assert finding.field == "spec.unlabeled"
    assert "'city'" in finding.message
    assert "string" in finding.message


def test_columns_are_found_by_name(job: MakeJob) -> None:
    tables = with_columns({"city": ["Ulm", "Bern"] * 30}, {"city": ["Ulm"] * 90})
    data = job(tables).prepare()
    tables["unlabeled"] = tables["unlabeled"].select(["city", "y", "id", "x"])
    turned = job(tables).prepare()
    assert turned.signature == data.signature
    assert np.array_equal(turned.unlabeled.features, data.unlabeled.features)


@pytest.mark.parametrize("student", ["cnn", "resnet", "mobilenet", "bag", "text_encoder"])
def test_students_of_other_inputs_are_refused(job: MakeJob, student: str) -> None:
    assert {f.field for f in job(pair(), student={"kind": student}).preflight().errors} == {"spec.student"}


def test_the_share_of_bad_rows_is_the_spec_s(job: MakeJob) -> None:
    tables = with_columns({}, {"x": pa.array([None] * 30 + [1.0] * 60, pa.float64())})
    assert "TOO_MANY_REJECTED" not in job(tables).codes()
    assert (
        "max_rejected_share allows 0.25"
        in job(tables, checks={"max_rejected_share": 0.25}).finding("TOO_MANY_REJECTED").message
    )


def test_adult_with_groups(job: MakeJob) -> None:
    tables = adult()
    made = job(tables, inputs={"categorical_columns": ["education_num"]})
    report, data = made.preflight(), made.prepare()
    assert report == data.report
    by_name = dict(zip(data.signature.columns, data.signature.categories, strict=True))
    assert by_name["sex"] == ("Female", "Male")
    assert by_name["age"] == ()
    assert set(by_name["education_num"]) <= {str(years) for years in range(1, 17)}
    sexes = dict(zip(tables["test"]["id"].to_pylist(), tables["test"]["sex"].to_pylist(), strict=True))
    column = data.signature.columns.index("sex")
    read = [by_name["sex"][int(code) - 1] for code in data.test.features[:, column]]
    assert read == [sexes[i] for i in data.test.ids] == list(data.test.groups["group_sex"])
    assert set(data.test.groups["group_race"]) == set(by_name["race"])


def test_d12_adult_unlabelled_equal_to_labelled_is_refused(job: MakeJob) -> None:
    tables = adult()
    tables["unlabeled"] = tables["labeled"].drop_columns(["label"])
    assert job(tables).finding("NO_ROWS_LEFT").field == "spec.unlabeled"
