"""Columns among the members of an ensemble, and model files among the data sets of a job."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets import prepare
from kdaif.errors import InvalidInputError
from tests.kdaif.datasets.conftest import Job, MakeJob, column_teacher, numbers, pair
from tests.kdaif.datasets.test_cases import RIGHT, ROWS, logits

NAMES = [f"c{label}" for label in RIGHT]
LABEL = {"kind": "column", "outputs": "label"}
OTHER = f"{7:032x}"


def ensemble(*members: dict[str, Any], combine: str = "mean") -> dict[str, Any]:
    return {"source": {"kind": "ensemble", "members": members, "combine": combine}}


def with_file(made: Job, role: str, table: pa.Table) -> Job:
    made.files[role] = made.files["labeled"].parent / f"{role}.parquet"
    pq.write_table(table, made.files[role])
    return made


def test_every_column_is_read_from_where_its_member_says(job: MakeJob) -> None:
    scores = column_teacher("logits")["source"]
    teacher = ensemble(LABEL, {"kind": "train"}, {**scores, "dataset": OTHER})
    order = np.random.default_rng(0).permutation(ROWS)
    apart = pa.table({"id": [f"u{row}" for row in range(ROWS)], "teacher_logits": logits()}).take(order)
    data = with_file(job(pair(teacher_label=NAMES), teacher=teacher), "teacher_2", apart).prepare()
    assert data.unlabeled.teacher_logits is None
    assert set(data.unlabeled.member_logits) == {0, 2}
    np.testing.assert_array_equal(data.unlabeled.member_logits[2], np.array(logits(), np.float32))
    assert np.array_equal(data.unlabeled.member_logits[0].argmax(axis=1), RIGHT)
    assert data.validation.member_logits == {}


def test_findings_name_the_member(job: MakeJob) -> None:
    made = job(pair(), teacher=ensemble({"kind": "train"}, LABEL))
    assert "spec.teacher.ensemble.members[1].column.outputs" in made.finding("NO_TEACHER_COLUMN").message
    fewer = {**column_teacher("logits", names=("c0", "c1"))["source"]}
    finding = job(pair(teacher_logits=logits(RIGHT % 2, 2)), teacher=ensemble({"kind": "train"}, fewer)).finding(
        "TEACHER_LACKS_CLASS"
    )
    assert finding.field == "spec.teacher.ensemble.members[1].column.class_names"
    lost = with_file(
        job(pair(), teacher=ensemble({"kind": "train"}, {**LABEL, "dataset": OTHER})), "teacher_1", pa.table({"x": [1]})
    )
    assert lost.finding("NO_ID").field == "spec.teacher.ensemble.members[1].column.dataset"


def test_columns_that_are_weighed_on_v_must_know_its_rows(job: MakeJob) -> None:
    teacher = ensemble(LABEL, {**LABEL, "dataset": OTHER}, combine="by_validation")
    tables = pair(teacher_label=NAMES)
    labeled = numbers(60, seed=1, prefix="l")
    tables["labeled"] = pa.table({**labeled, "teacher_label": labeled["label"]})
    everyone = pa.table(
        {"id": [*labeled["id"], *(f"u{row}" for row in range(ROWS))], "teacher_label": [*labeled["label"], *NAMES]}
    )
    data = with_file(job(tables, teacher=teacher), "teacher_1", everyone).prepare()
    for said in data.validation.member_logits.values():
        assert np.array_equal(said.argmax(axis=1), data.validation.labels)
    silent = with_file(job(tables, teacher=teacher), "teacher_1", everyone.slice(60))
    finding = silent.finding("MEMBER_SILENT_ON_VALIDATION")
    assert finding.field == "spec.teacher.ensemble.members[1].column"
    assert finding.row_count == len(data.validation)
    with pytest.raises(InvalidInputError, match="choose combine 'mean'"):
        silent.prepare()


def test_a_model_file_is_not_read_as_a_table(job: MakeJob) -> None:
    source = {"kind": "onnx", "model": OTHER, "outputs": "logits", "class_names": ["c2", "c1", "c0"]}
    made = job(pair(), teacher={"source": source})
    made.files["teacher"] = made.files["labeled"].with_name("model.onnx")
    made.files["teacher"].write_bytes(b"no parquet")
    assert len(made.prepare().unlabeled) == ROWS
    unknown = job(pair(), teacher={"source": {**source, "class_names": ["c0", "c1"]}})
    assert unknown.finding("TEACHER_LACKS_CLASS").field == "spec.teacher.onnx.class_names"
    packed = job(pair(), teacher={"source": {"kind": "transformer", "model": OTHER}})
    assert len(prepare(packed.spec, packed.files).unlabeled) == ROWS
