"""Whole attempts with teachers that are more than one network or column, from stored data sets to the bundle."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_worker.messages import Assignment
from kdaif_worker.pipeline import run
from onnx import TensorProto, helper, numpy_helper

from kdaif.records import DistillationSpec, JobResult
from kdaif.store import BlobStore, DatasetStore

CLASSES = ("a", "b", "c")
NET = {"kind": "mlp", "hidden_sizes": [8]}


def table(rows: int, seed: int, prefix: str, label: str) -> pa.Table:
    generator = np.random.default_rng(seed)
    known = generator.integers(0, 3, rows)
    x = 3 * np.eye(3)[known] + generator.normal(size=(rows, 3))
    columns = {name: x[:, position].astype(np.float32) for position, name in enumerate("xyz")}
    names = [CLASSES[code] for code in known]
    return pa.table({"id": [f"{prefix}{row}" for row in range(rows)], **columns, label: names})


def model() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["scores"])],
        "g",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(2 * np.eye(3, dtype=np.float32), "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def attempt(folder: Path, teacher: dict[str, Any]) -> tuple[JobResult, BlobStore]:
    blobs = BlobStore.open(f"file://{folder}/store")
    store = DatasetStore(blobs, folder / "spool", lambda path: (0, ()))

    def put(content: bytes) -> str:
        dataset, _ = store.create("default", "", hashlib.sha256(content).hexdigest(), len(content))
        store.append("default", dataset.id, 0, [content])
        return store.finish("default", dataset.id).id

    def parquet(rows: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        return put(sink.getvalue().to_pybytes())

    spec = DistillationSpec.model_validate(
        {
            "labeled": parquet(table(200, 1, "l", "label")),
            "unlabeled": parquet(table(200, 2, "u", "teacher_label")),
            "teacher": {"source": _with_model(teacher, put(model()))},
            "student": NET,
            "training": {"rounds": 2, "epochs_per_round": 2, "seeds": 1, "learning_rate": 0.01},
            "weighting": {"canary_bar": 0.0},
        }
    )
    (folder / "cache").mkdir()
    assignment = Assignment("default", "j1", 1, "", spec, f"file://{folder}/store", folder / "cache", 1)
    return run(assignment, lambda message: None).result, blobs


def _with_model(source: dict[str, Any], dataset: str) -> dict[str, Any]:
    if source["kind"] == "onnx":
        return {**source, "model": dataset}
    return (
        {**source, "members": [_with_model(member, dataset) for member in source["members"]]}
        if (source["kind"] == "ensemble")
        else source
    )


ONNX = {"kind": "onnx", "outputs": "logits", "class_names": CLASSES}
FOLDED = {"kind": "train", "architecture": NET, "epochs": 100, "folds": 2}
LABEL = {"kind": "column", "outputs": "label"}


@pytest.mark.parametrize(
    "teacher", [ONNX, {"kind": "ensemble", "members": [ONNX, FOLDED], "combine": "by_validation"}], ids=["onnx", "both"]
)
def test_a_job_with_a_model_of_ones_own(tmp_path: Path, teacher: dict[str, Any]) -> None:
    result, blobs = attempt(tmp_path, teacher)
    heard = next(arm for arm in result.arms if arm.arm == "teacher")
    assert heard.accuracy is not None
    assert heard.accuracy > 0.85
    assert len(blobs.list("tenants/default/model-outputs")) == 1


def test_the_report_tells_how_often_a_folded_teacher_is_right_out_of_fold(tmp_path: Path) -> None:
    _, blobs = attempt(tmp_path, FOLDED)
    page = blobs.get_bytes("tenants/default/jobs/j1/attempt-1/bundle/report.html").decode()
    found = re.search(r"teacher on labelled rows, out of fold</dt><dd>([0-9.]+)% right", page)
    assert found is not None
    assert 80 < float(found[1]) < 100


def test_an_ensemble_with_a_column_has_no_word_on_the_test_rows(tmp_path: Path) -> None:
    result, _ = attempt(tmp_path, {"kind": "ensemble", "members": [LABEL, ONNX]})
    assert next((arm.accuracy for arm in result.arms if arm.arm == "teacher"), None) is None
    assert next(arm.accuracy for arm in result.arms if arm.arm == "influence") > 0.8
