"""Cases of CASES.md against the real server: large files, quiet watches, full disks, and an end by SIGTERM."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Client
from kdaif_server.settings import ServerSettings

from kdaif.store import BlobStore
from tests.client.conftest import make_bundle
from tests.server.serving import serving, submit, succeed_next, weights


def test_q9_a_model_of_50_mb_and_a_million_weights_need_no_option(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data")
    data = os.urandom(50_000_000)
    table = tmp_path / "50mb.parquet"
    rows = np.frombuffer(data, np.int64)
    pq.write_table(pa.table({"id": np.arange(len(rows)), "x": rows}), table, compression="none", use_dictionary=False)
    assert table.stat().st_size > 50_000_000
    bundle = make_bundle("numeric", (4,), ["a", "b", "c", "d"], {"large.bin": data}).files
    with serving(settings) as target, Client(target) as client:
        assert client.upload_dataset(table, name="large").size_bytes == table.stat().st_size
        job = submit(client)
        succeed_next(valkey_url, BlobStore.open(settings.blob_url), bundle, weights(1_000_000), tmp_path)
        job.refresh()
        student = job.download_student(tmp_path / "student")
        assert (student.folder / "large.bin").read_bytes() == data
        found = job.weights_table()
        assert found.num_rows == 1_000_000
        assert found.column("weight").to_numpy()[-1] == 999_999
