from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets.classes import MOST_CLASSES
from kdaif.errors import InvalidInputError
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import Job, MakeJob, numbers, pair

SUPPORTED = "kdaif does single-label classification"


def labelled(job: MakeJob, labels: Any, role: str = "labeled") -> Job:
    return job({**pair(), role: pa.table(numbers(60, seed=3, prefix="m", labels=labels))})


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([[1, 2], [3]] * 30, pa.list_(pa.int64())),
        pa.array([["cat", "dog"], []] * 30, pa.list_(pa.string())),
        pa.array([[0, 1]] * 60, pa.list_(pa.int8(), 2)),
        pa.array([["cat"]] * 60, pa.large_list(pa.string())),
        pa.array([{"cat": True, "dog": True}] * 60),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((60, 2, 2), np.uint8)),
    ],
    ids=lambda labels: str(labels.type),
)
def test_several_labels_per_row_are_refused(job: MakeJob, labels: pa.Array) -> None:
    made = labelled(job, labels)
    finding = made.finding("MULTILABEL_UNSUPPORTED")
    assert (finding.severity, finding.field) == (Severity.ERROR, "spec.labeled")
    assert finding.message.startswith(SUPPORTED)
    stored = pq.read_schema(made.files["labeled"]).field("label").type  # Parquet names the items of a list anew
    assert f"'label' is {stored}, several values per row (multilabel)" in finding.message
    assert "keep one class per row" in finding.message
    with pytest.raises(InvalidInputError, match=SUPPORTED):
        made.prepare()


@pytest.mark.parametrize("role", ["labeled", "validation", "test", "external"])
@pytest.mark.parametrize("kind", ["double", "float", "dictionary"])
def test_measured_numbers_are_refused_and_named(job: MakeJob, role: str, kind: str) -> None:
    values: list[float | None] = [1.0, 0.0] * 30
    values[8], values[9] = 0.37, None
    column = pa.array(values).dictionary_encode() if kind == "dictionary" else pa.array(values).cast(kind)
    finding = labelled(job, column, role).finding("REGRESSION_UNSUPPORTED")
    assert (finding.severity, finding.field) == (Severity.ERROR, f"spec.{role}")
    assert finding.message.startswith(SUPPORTED)
    assert "fractions such as 0.37 (regression)" in finding.message
    assert "cut the numbers into classes, or store them as text" in finding.message
    assert (finding.row_count, finding.ids) == (1, ("m8",))


def test_whole_floats_and_numbers_as_text_are_classes(job: MakeJob) -> None:
    assert labelled(job, [0.0, 1.0, 2.0] * 20).prepare().class_names == ("0", "1", "2")
    assert labelled(job, ["0.5", "1.5"] * 30).prepare().class_names == ("0.5", "1.5")


def test_ids_as_labels_are_too_many_classes(job: MakeJob) -> None:
    """Of a student with a number for each the memory would run out, hours later."""
    ids = [f"row-{number}" for number in range(MOST_CLASSES + 1)]
    made = job({**pair(), "labeled": pa.table(numbers(len(ids), seed=3, prefix="m", labels=ids))})
    finding = made.finding("TOO_MANY_CLASSES")
    assert (finding.severity, finding.field) == (Severity.ERROR, "spec.labeled")
    assert finding.message.startswith("20,001 classes, such as 'row-0'")
    assert "column of ids" in finding.message
