"""What a job names is looked at before the job is queued."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_server.services.jobs import DistillationJobService
from onnx import TensorProto, helper, numpy_helper

from kdaif import datasets
from kdaif.errors import InvalidInputError
from kdaif.model_files import inspect_onnx
from kdaif.records import DatasetKind, DatasetState, DistillationSpec
from kdaif.store import BlobStore, DatasetStore


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    blobs = BlobStore.open(f"file://{tmp_path}/blobs")
    return DatasetStore(
        blobs, tmp_path / "spool", datasets.inspect, inspect_model=lambda file, kind: inspect_onnx(file)
    )


@pytest.fixture
def service(store: DatasetStore, tmp_path: Path) -> DistillationJobService:
    unused: Any = None
    return DistillationJobService(unused, store, unused, unused, tmp_path / "cache", asyncio.Event())


def uploaded(store: DatasetStore, data: bytes, kind: DatasetKind, *, whole: bool = True) -> str:
    found, _ = store.create("t", "x", hashlib.sha256(data).hexdigest(), len(data), kind)
    if found.state is DatasetState.READY:
        return found.id
    store.append("t", found.id, 0, [data if whole else data[:-1]])
    return store.finish("t", found.id).id if whole else found.id


def table(store: DatasetStore, prefix: str, rows: int, *, labels: bool, whole: bool = True) -> str:
    columns: dict[str, Any] = {"id": [f"{prefix}{row}" for row in range(rows)]}
    for place, name in enumerate("xyz"):
        columns[name] = np.random.default_rng((rows, place)).normal(size=rows)
    if labels:
        columns["label"] = ["cat" if row % 2 else "dog" for row in range(rows)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return uploaded(store, sink.getvalue().to_pybytes(), DatasetKind.TABLE, whole=whole)


def model(width: int) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.ones((width, 2), np.float32), "w")],
    )
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return bytes(made.SerializeToString())


def spec(store: DatasetStore, teacher: str, **more: str) -> DistillationSpec:
    source = {"kind": "onnx", "model": teacher, "outputs": "logits", "class_names": ["cat", "dog"]}
    roles = {"labeled": table(store, "l", 80, labels=True), "unlabeled": table(store, "u", 60, labels=False), **more}
    return DistillationSpec.model_validate({**roles, "teacher": {"source": source}})


def test_what_is_still_uploading_cannot_be_named(service: DistillationJobService, store: DatasetStore) -> None:
    half = uploaded(store, model(3), DatasetKind.ONNX, whole=False)
    pool = table(store, "v", 61, labels=False, whole=False)
    with pytest.raises(InvalidInputError) as refused:
        service._check("t", spec(store, half, unlabeled=pool))
    fields = [violation.field for violation in refused.value.violations]
    assert sorted(fields) == ["spec.teacher.onnx.model", "spec.unlabeled"]
    assert "finish the upload" in refused.value.violations[0].description


def test_a_model_is_held_against_the_data_by_what_was_kept_of_it(
    service: DistillationJobService, store: DatasetStore
) -> None:
    assert service._check("t", spec(store, uploaded(store, model(3), DatasetKind.ONNX))).report.errors == ()
    checked = service._check("t", spec(store, uploaded(store, model(4), DatasetKind.ONNX)))
    assert [finding.field for finding in checked.report.errors] == ["spec.teacher.onnx.model"]
