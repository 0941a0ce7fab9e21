"""A real gRPC server in this process, and a student that onnxruntime really runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from kdaif_client import Client
from numpy.typing import NDArray

from tests.client.in_loop import in_loop
from tests.client.small_server import SmallServer

CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def server() -> Iterator[SmallServer]:
    running = SmallServer()
    yield running
    running.stop()


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest, server: SmallServer) -> Iterator[Client]:
    """Each test runs with both clients."""
    connect = Client if request.param == "blocking" else in_loop
    with connect(server.target, timeout_s=10, patience_s=20) as connected:
        yield connected


@dataclass(frozen=True)
class Bundle:
    """Files of a linear student, and the matrix that it multiplies its inputs by."""

    files: dict[str, bytes]
    matrix: NDArray[np.float32]


def make_bundle(
    kind: str,
    shape: tuple[int, ...],
    columns: list[str],
    more: dict[str, bytes] | None = None,
    scale: float = 1 / 255,
) -> Bundle:
    size = int(np.prod(shape))
    matrix = np.random.default_rng(0).normal(size=(size, len(CLASSES))).astype(np.float32) * np.float32(scale)
    dtype = onnx.TensorProto.UINT8 if kind == "image" else onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Cast", ["input"], ["numbers"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Flatten", ["numbers"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
        onnx.helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "student",
        [onnx.helper.make_tensor_value_info("input", dtype, ["batch", *shape])],
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", len(CLASSES)])
            for name in ("logits", "probabilities")
        ],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    files = {"model.onnx": model.SerializeToString(), "certificate.json": b"{}", **(more or {})}
    manifest = {
        "format": "kdaif-bundle",
        "format_version": 1,
        "job": "tenants/default/distillationJobs/j1",
        "class_names": CLASSES,
        "input": {
            "name": "input",
            "kind": kind,
            "dtype": "uint8" if kind == "image" else "float32",
            "shape": ["batch", *shape],
            "columns": columns,
        },
        "outputs": ["logits", "probabilities"],
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for name, data in files.items()
        },
    }
    return Bundle({**files, "manifest.json": json.dumps(manifest).encode()}, matrix)


@pytest.fixture(scope="session")
def image_bundle() -> Bundle:
    return make_bundle("image", (8, 8, 1), ["image"])


@pytest.fixture(scope="session")
def numeric_bundle() -> Bundle:
    return make_bundle("numeric", (3,), ["age", "height", "weight"])
