from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets import inspect
from kdaif.model_files import inspect_safetensors
from kdaif.store import BlobStore, DatasetStore


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}/blobs")


@pytest.fixture
def store(blobs: BlobStore, tmp_path: Path) -> DatasetStore:
    return DatasetStore(blobs, tmp_path / "spool", inspect, inspect_model=lambda file, kind: inspect_safetensors(file))


def parquet(rows: int = 50) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [f"r{row}" for row in range(rows)], "x": [float(row) for row in range(rows)]}), sink)
    return sink.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
