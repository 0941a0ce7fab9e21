import numpy as np
import pyarrow as pa
import pytest

from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, pair


def test_overrides_stay_with_their_rows_and_null_is_none(job: MakeJob) -> None:
    given: list[float | None] = [None] * 90
    given[4], given[7] = 0.0, 2.5
    # A row before them is dropped, so that places in the file and in the part differ.
    x = [float("nan"), *np.arange(89.0)]
    rows = job(pair(weight_override=given, x=x)).prepare().unlabeled
    assert rows.weight_override is not None
    found = {row: float(value) for row, value in zip(rows.ids, rows.weight_override, strict=True) if value == value}
    assert found == {"u4": 0.0, "u7": 2.5}


@pytest.mark.parametrize("column", [pa.nulls(90), pa.nulls(90, pa.float64())])
def test_an_empty_column_overrides_nothing(job: MakeJob, column: pa.Array) -> None:
    assert job(pair(weight_override=column)).prepare().unlabeled.weight_override is None
    assert job(pair()).prepare().unlabeled.weight_override is None


def test_whole_numbers_are_numbers(job: MakeJob) -> None:
    rows = job(pair(weight_override=pa.array([3] * 90, pa.int32()))).prepare().unlabeled
    assert rows.weight_override is not None
    assert set(rows.weight_override) == {3.0}


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), 1e7])
def test_a_bad_override_names_column_row_and_fix(job: MakeJob, bad: float) -> None:
    given: list[float | None] = [None] * 90
    given[3] = bad
    finding = job(pair(weight_override=given)).finding("WEIGHT_OVERRIDE_VALUE")
    assert finding.severity is Severity.ERROR
    assert (finding.field, finding.ids) == ("spec.unlabeled", ("u3",))
    assert "'weight_override'" in finding.message
    assert "give a number from 0 to 1,000,000, or null" in finding.message


@pytest.mark.parametrize("column", [["high"] * 90, [True] * 90, [[1.0]] * 90])
def test_overrides_that_are_no_numbers_are_refused(job: MakeJob, column: list[object]) -> None:
    finding = job(pair(weight_override=column)).finding("WEIGHT_OVERRIDE_TYPE")
    assert finding.severity is Severity.ERROR
    assert "or null where there is nothing to override" in finding.message


def test_overrides_that_would_have_no_effect_are_said(job: MakeJob) -> None:
    tables = pair(weight_override=[1.0] * 90)
    uniform = job(tables, weighting={"method": "uniform"})
    assert "weight_override not used" in uniform.finding("COLUMN_NOT_USED").message
    tables = pair()
    tables["labeled"] = tables["labeled"].append_column("weight_override", pa.array([1.0] * 60))
    finding = job(tables).finding("COLUMN_NOT_USED")
    assert finding.field == "spec.labeled"
    assert job(tables).prepare().signature.columns == ("x", "y")
