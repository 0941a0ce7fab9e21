"""Small files that ask for much: refused within bounds, by a process that is gone afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save

from kdaif.errors import InvalidInputError
from kdaif.model_files import Bounds, inspect_bounded, inspect_onnx, inspect_transformer
from kdaif.records import DatasetKind, OnnxSignature, SafetensorsSignature, TransformerSignature
from tests.kdaif.model_files.test_onnx_file import model_of, product, weights, write
from tests.kdaif.model_files.test_transformer_archive import files, packed


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def onnx_of_nodes(path: Path, node: bytes, count: int) -> Path:
    """Nodes that take a few bytes each in the file, and a hundred in memory."""
    body = (b"\x0a" + varint(len(node)) + node) * count
    path.write_bytes(b"\x08\x08" + b"\x3a" + varint(len(body)) + body)
    return path


def refusal(path: Path, kind: DatasetKind, bounds: Bounds | None = None) -> str:
    with pytest.raises(InvalidInputError) as refused:
        inspect_bounded(path, kind, bounds)
    assert not psutil.Process().children(recursive=True)
    assert refused.value.violations[0].field == "dataset"
    return refused.value.violations[0].description


def test_what_a_model_says_comes_back(tmp_path: Path) -> None:
    model = write(tmp_path / "m.onnx", model_of([product()], (weights(),)))
    found = inspect_bounded(model, DatasetKind.ONNX)
    assert found == inspect_onnx(model)
    assert isinstance(found, OnnxSignature)
    archive = inspect_bounded(packed(tmp_path / "m.tar", files()), DatasetKind.TRANSFORMER)
    assert archive == TransformerSignature("bert", 5, 5, 16)
    (tmp_path / "w").write_bytes(save({"b": np.zeros((2, 3), np.float32)}))
    tensors = inspect_bounded(tmp_path / "w", DatasetKind.SAFETENSORS)
    assert isinstance(tensors, SafetensorsSignature)
    assert [(tensor.name, tensor.shape) for tensor in tensors.tensors] == [("b", (2, 3))]


@pytest.mark.parametrize("node", [b"", b"\x22\x04Relu"])
def test_an_onnx_file_of_millions_of_nodes(tmp_path: Path, node: bytes) -> None:
    """Review of issue C: 16 MB of empty nodes took 1.3 GiB and 65 s of the server."""
    path = onnx_of_nodes(tmp_path / "m.onnx", node, (16 << 20) // (len(node) + 2))
    start = time.monotonic()
    assert "model file" in refusal(path, DatasetKind.ONNX, Bounds(memory_bytes=64 << 20, cpu_seconds=4))
    assert time.monotonic() - start < 30


def test_the_first_foreign_operators_are_enough(tmp_path: Path) -> None:
    path = onnx_of_nodes(tmp_path / "m.onnx", b"", 300_000)
    start = time.process_time()
    with pytest.raises(InvalidInputError, match="one without a name"):
        inspect_onnx(path)
    assert time.process_time() - start < 1


def test_time_on_the_wall_and_of_the_processor(tmp_path: Path) -> None:
    path = onnx_of_nodes(tmp_path / "m.onnx", b"\x22\x04Relu", 1_000_000)
    assert "over 0.01 s to look into" in refusal(path, DatasetKind.ONNX, Bounds(seconds=0.01))
    assert "over 1 s of the processor" in refusal(path, DatasetKind.ONNX, Bounds(memory_bytes=2 << 30, cpu_seconds=1))


def test_json_that_is_large_when_it_is_read(tmp_path: Path) -> None:
    """Review of issue C: a tokenizer.json of 60 MB took 1.8 GiB, a safetensors header of 15 MB 490 MiB."""
    listed = b'{"model": {"vocab": [' + b"[]," * (1 << 20) + b"[]]}}"
    path = packed(tmp_path / "m.tar", {**files(), "tokenizer.json": listed})
    assert "more memory" in refusal(path, DatasetKind.TRANSFORMER, Bounds(memory_bytes=32 << 20))


@pytest.mark.parametrize(
    ("name", "size"), [("config.json", 1 << 20), ("tokenizer.json", 32 << 20), ("model.safetensors", 4 << 20)]
)
def test_json_that_is_too_long(tmp_path: Path, name: str, size: int) -> None:
    long = json.dumps({}).encode() + b" " * size
    if name == "model.safetensors":
        long = len(long).to_bytes(8, "little") + long
    path = packed(tmp_path / "m.tar", {**files(), name: long})
    with pytest.raises(InvalidInputError, match=f"over {size}"):
        inspect_transformer(path)
