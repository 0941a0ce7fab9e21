"""What a check tells of classes and groups before a job: drift, rare classes and small groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kdaif.datasets.drift import report_class_drift
from kdaif.datasets.findings import Findings
from kdaif.records import Severity
from tests.kdaif.datasets.conftest import MakeJob, column_teacher, numbers, pair

CLASSES = ("cat", "dog", "owl")
BAR = 0.3


def found(said: list[int], labels: list[int], bar: float = BAR) -> list[str]:
    findings = Findings()
    report_class_drift(
        np.array(said, np.int32), np.array(labels, np.int32), CLASSES, bar, findings, field="spec.teacher.source"
    )
    report = findings.report()
    assert all(finding.severity is Severity.INFO and finding.code == "CLASS_DRIFT" for finding in report.findings)
    return [finding.message for finding in report.findings]


def test_a_pool_of_other_classes_is_told_with_the_classes_that_moved() -> None:
    (message,) = found([0] * 90 + [1] * 10, [0] * 20 + [1] * 60 + [2] * 20)
    assert "70% of the unlabelled rows" in message
    assert "'cat' 20% against 90%, 'dog' 60% against 10%" in message


@pytest.mark.parametrize(
    ("said", "labels", "bar"),
    [
        ([0] * 50 + [1] * 30 + [2] * 20, [0] * 5 + [1] * 3 + [2] * 2, BAR),
        ([0] * 60 + [1] * 40, [0, 1, 2], BAR),  # of three labels, such a distance is chance
        ([0] * 100, [1] * 100, 0.0),
        ([-1] * 100, [1] * 100, BAR),
        ([0] * 100, [-1], BAR),
    ],
    ids=["alike", "few labels", "off", "a silent teacher", "no label"],
)
def test_nothing_is_told_otherwise(said: list[int], labels: list[int], bar: float) -> None:
    assert not found(said, labels, bar)


def test_a_check_tells_the_drift_of_a_teacher_s_column(job: MakeJob) -> None:
    one_class = job(pair(teacher_label=["c0"] * 90), teacher=column_teacher("label"))
    assert one_class.finding("CLASS_DRIFT").field == "spec.teacher.column"
    as_labelled = job(pair(teacher_label=["c0", "c1", "c2"] * 30), teacher=column_teacher("label"))
    assert "CLASS_DRIFT" not in as_labelled.codes()
    assert "CLASS_DRIFT" not in job(pair()).codes()


def test_a_check_tells_rare_classes(job: MakeJob) -> None:
    tables = pair()
    labels = ["c0"] * 30 + ["c1"] * 27 + ["c2"] * 3
    tables["test"] = pa.table(numbers(60, seed=4, prefix="t", labels=labels))
    rare = [finding for finding in job(tables).preflight().findings if finding.code == "RARE_CLASS"]
    assert [(finding.field, finding.row_count) for finding in rare if finding.field == "spec.test"] == [
        ("spec.test", 3)
    ]
    assert any("fewer than 5 test rows of class 'c2'" in finding.message for finding in rare)


@pytest.mark.parametrize("how", ["preflight", "prepare"])
def test_small_groups_of_the_rows_that_measure_are_told(job: MakeJob, how: str) -> None:
    tables = pair()
    columns: dict[str, Any] = numbers(60, seed=4, prefix="t")
    tables["test"] = pa.table({**columns, "group_site": ["north"] * 50 + ["south"] * 9 + [None]})
    made = job(tables)
    report = made.preflight() if how == "preflight" else made.prepare().report
    small = [finding for finding in report.findings if finding.code == "SMALL_GROUP"]
    assert [(finding.field, finding.severity) for finding in small] == [("spec.test", Severity.INFO)]
    assert "group_site = 'south (9)'" in small[0].message
