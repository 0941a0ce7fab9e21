"""Uploads arrive once and whole."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import Client, DatasetState
from kdaif_client.errors import InvalidArgument, NotFound, Unavailable

from tests.client.small_server import SmallServer

CHUNK = 512 * 1024


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """A Parquet file of about 5 MB that does not compress."""
    values = np.random.default_rng(0).normal(size=600_000)
    pq.write_table(pa.table({"id": np.arange(600_000), "x": values}), tmp_path / "big.parquet", compression="none")
    return tmp_path / "big.parquet"


def test_a_file_arrives_as_it_is_and_is_known_the_second_time(
    server: SmallServer, client: Client, big_file: Path
) -> None:
    dataset = client.upload_dataset(big_file, name="pool")
    assert dataset.state is DatasetState.READY
    assert dataset.display_name == "pool"
    assert bytes(server.state.contents[dataset.name]) == big_file.read_bytes()
    assert client.upload_dataset(str(big_file), name="pool").name == dataset.name
    assert server.state.calls["WriteDataset"] == 1


def test_a_cut_stream_goes_on_at_the_committed_size(server: SmallServer, client: Client, big_file: Path) -> None:
    server.state.cut_writes = [2 * CHUNK, 1 * CHUNK, 3 * CHUNK]
    dataset = client.upload_dataset(big_file, name="pool")
    assert dataset.state is DatasetState.READY
    assert bytes(server.state.contents[dataset.name]) == big_file.read_bytes()
    assert server.state.offsets == [0, 2 * CHUNK, 3 * CHUNK, 6 * CHUNK]


def test_q13_an_upload_survives_a_restart_of_the_server(server: SmallServer, client: Client, big_file: Path) -> None:
    server.state.cut_writes = [2 * CHUNK]
    server.state.unavailable["QueryWriteStatus"] = 10**9

    def restart() -> None:
        while not server.state.calls["QueryWriteStatus"]:
            time.sleep(0.01)
        server.stop()
        time.sleep(0.5)
        server.state.unavailable.clear()
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    dataset = client.upload_dataset(big_file, name="pool")
    thread.join()
    assert dataset.state is DatasetState.READY
    assert server.state.offsets == [0, 2 * CHUNK]


def test_a_stale_offset_is_asked_for_again(server: SmallServer, client: Client, big_file: Path) -> None:
    # The handler of a broken stream may write on after the client has asked how far it was.
    created = server.state.contents
    original = type(server.state.contents).__getitem__

    class Growing(dict[str, bytearray]):
        grown = False

        def __getitem__(self, name: str) -> bytearray:
            content = original(self, name)
            if not self.grown and server.state.calls["WriteDataset"] == 1:
                self.grown = True
                content += big_file.read_bytes()[:CHUNK]
            return content

    server.state.contents = Growing(created)
    dataset = client.upload_dataset(big_file, name="pool")
    assert dataset.state is DatasetState.READY
    assert server.state.offsets == [0, CHUNK]


def test_an_upload_that_was_given_up_is_taken_up_by_the_next_one(server: SmallServer, big_file: Path) -> None:
    server.state.cut_writes = [3 * CHUNK]
    server.state.unavailable["QueryWriteStatus"] = 10**9
    with Client(server.target, patience_s=0) as client, pytest.raises(Unavailable):
        client.upload_dataset(big_file, name="pool")
    server.state.unavailable.clear()
    with Client(server.target) as client:
        client.upload_dataset(big_file, name="pool")
    assert server.state.offsets == [0, 3 * CHUNK]


def test_a_refusal_is_final(
    server: SmallServer, client: Client, big_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_upload", "_async.upload"):
        monkeypatch.setattr(f"kdaif_client.{module}._sha256", lambda file: "0" * 64)
    with pytest.raises(InvalidArgument, match="the hash differs"):
        client.upload_dataset(big_file, name="pool")
    assert server.state.calls["WriteDataset"] <= 2


def test_patience_ends(big_file: Path) -> None:
    with (
        Client("127.0.0.1:1", patience_s=0) as client,
        pytest.raises(Unavailable, match="connection refused") as caught,
    ):
        client.upload_dataset(big_file, name="pool")
    assert "kdaif up" in str(caught.value)


def test_progress_is_told_on_the_error_stream(
    client: Client, big_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.upload_dataset(big_file, name="pool", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Uploading pool" in err


def test_q9_50_mb_up_and_down_with_no_option_set(server: SmallServer, tmp_path: Path) -> None:
    from tests.client.conftest import make_bundle

    data = os.urandom(50_000_000)
    file = tmp_path / "50mb.parquet"
    rows = np.frombuffer(data, np.int64)
    pq.write_table(pa.table({"id": np.arange(len(rows)), "x": rows}), file, compression="none", use_dictionary=False)
    assert file.stat().st_size > 50_000_000
    with Client(server.target) as client:
        dataset = client.upload_dataset(file, name="large")
        assert server.state.contents[dataset.name] == file.read_bytes()
        server.state.add_job("large")
        server.state.tell("tenants/default/distillationJobs/large", "finished", 4)
        name = server.state.add_student(
            "large", make_bundle("numeric", (3,), ["a", "b", "c"], {"large.bin": data}).files, ["cat", "dog", "owl"]
        )
        server.state.jobs["tenants/default/distillationJobs/large"].result.student = name
        student = client.get_job("large").download_student(tmp_path / "student")
    assert (student.folder / "large.bin").read_bytes() == data


def test_data_sets_are_listed_got_and_deleted(server: SmallServer, client: Client) -> None:
    made = [client.upload_dataset(np.full((3, 2), i), name=f"set{i}") for i in range(5)]
    assert {dataset.name for dataset in client.list_datasets()} == {dataset.name for dataset in made}
    assert len(list(client.list_datasets(limit=3))) == 3
    assert client.get_dataset(made[0].name) == client.get_dataset(made[0].name.rsplit("/", 1)[-1])
    assert client.get_dataset(made[0].name).create_time is not None
    client.delete_dataset(made[0])
    with pytest.raises(NotFound, match="There is no data set"):
        client.get_dataset(made[0].name)
