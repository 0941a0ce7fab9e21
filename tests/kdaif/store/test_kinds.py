"""Safetensors files are known by their header; uploads of models are looked into as tables are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from kdaif.datasets import inspect
from kdaif.errors import InvalidInputError, NotFoundError
from kdaif.model_files import inspect_safetensors
from kdaif.records import DatasetKind, DatasetState, ModelTensor
from kdaif.store import BlobStore, DatasetStore
from tests.kdaif.store.conftest import sha256

GOOD = save({"b": np.zeros((2, 3), dtype=np.float32), "a": np.arange(4)}, metadata={"who": "me"})


def made(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def test_the_names_of_a_file_that_the_library_wrote(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD)
    found = inspect_safetensors(tmp_path / "a").tensors
    assert found == (ModelTensor("a", "int64", (4,)), ModelTensor("b", "float32", (2, 3)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        GOOD[:-1],
        GOOD + b"x",
        made({}),
        made([]),
        made(b"{"),
        made(b"\xff\xfe"),
        made({"a": {}}, length=2**63),
        made({"a": {"data_offsets": [0, 8]}}, b"1234"),
        made({"a": {"data_offsets": [0, "8"]}}, b"12345678"),
        made({"a": {"data_offsets": [0, 4]}, "b": {"data_offsets": [2, 8]}}, b"12345678"),
        made({"a": {"data_offsets": [4, 8]}}, b"12345678"),
        made({"a": {}}, b"1234"),
        made({"a": 3}, b"1234"),
        made(b"[" * 100_000),
        made({"a": {"data_offsets": [0, 4], "dtype": "F32"}}, b"1234"),
        made(
            json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode() + b" " * 2**20, b"1234"
        ),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InvalidInputError, match="no readable safetensors file"):
        inspect_safetensors(tmp_path / "a")


def test_an_upload_of_tensors(store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(GOOD)
    dataset, _ = store.create("acme", "weights", sha256(GOOD), len(GOOD), DatasetKind.SAFETENSORS)
    store.append("acme", dataset.id, 0, [GOOD])
    found = store.finish("acme", dataset.id)
    assert (found.kind, found.state, found.row_count) == (DatasetKind.SAFETENSORS, DatasetState.READY, 0)
    assert store.get("acme", found.id) == found
    assert found.model == inspect_safetensors(tmp_path / "given")
    assert store.fetch("acme", found.id, tmp_path / "cache").name == f"{found.sha256}.safetensors"


def test_an_upload_that_is_not_of_its_kind_is_discarded(store: DatasetStore) -> None:
    data = b"these are no tensors"
    dataset, _ = store.create("acme", "weights", sha256(data), len(data), DatasetKind.SAFETENSORS)
    store.append("acme", dataset.id, 0, [data])
    with pytest.raises(InvalidInputError, match="safetensors"):
        store.finish("acme", dataset.id)
    with pytest.raises(NotFoundError):
        store.get("acme", dataset.id)


def test_a_kind_that_cannot_be_looked_into_is_refused_before_any_byte(blobs: BlobStore, tmp_path: Path) -> None:
    store = DatasetStore(blobs, tmp_path / "spool", inspect)
    with pytest.raises(InvalidInputError, match="ONNX"):
        store.create("acme", "model", sha256(b"x"), 1, DatasetKind.ONNX)
