"""Cases of CASES.md against the real server: large files, quiet watches, full disks, and an end by SIGTERM."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import Client
from kdaif_client.errors import Unavailable
from kdaif_proto.v1 import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from kdaif_server.cli import main
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.settings import ServerSettings

from kdaif.errors import FailedPreconditionError
from kdaif.store import BlobStore
from tests.client.conftest import make_bundle
from tests.server.serving import serving, submit, succeed_next, weights
from tests.waiting import wait_for

MIB = 1 << 20


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
        # Two pages of a million rows; all hundred would come too, at a third of a second each.
        heaviest = [row.weight for row in job.weights(order_by="weight desc", limit=12_000)]
        assert heaviest == [float(number) for number in range(999_999, 987_999, -1)]
        assert [row.weight for row in job.weights(ids=range(0, 1_000_000, 1000))] == list(range(0, 1_000_000, 1000))


@pytest.mark.parametrize(("allowed_s", "survives"), [(0.05, True), (300.0, False)])
def test_q10_a_quiet_watch_outlives_its_pings(
    valkey_url: str, tmp_path: Path, allowed_s: float, survives: bool
) -> None:
    """In quick motion: four pings a second instead of one in 10 s.

    300 s is the default of gRPC, which a misspelt option would leave in place.
    """
    assert ServerSettings().min_client_ping_s < 10.0
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path, min_client_ping_s=allowed_s)
    pings = [("grpc.keepalive_time_ms", 250), ("grpc.http2.max_pings_without_data", 0)]
    with serving(settings) as target, Client(target) as client, grpc.insecure_channel(target, options=pings) as channel:
        job = submit(client)
        request = jobs_pb2.WatchDistillationJobRequest(name=job.name)
        watch = jobs_pb2_grpc.DistillationJobServiceStub(channel).WatchDistillationJob(request, timeout=30)
        assert next(watch).event.kind == "queued"
        ended = threading.Event()
        watch.add_callback(ended.set)
        # gRPC ends a connection at the third ping that is too early; 2 s are eight.
        assert ended.wait(2.0 if survives else 20.0) is not survives
        if survives:
            job.cancel()
            assert [answer.event.kind for answer in watch] == ["finished"]
        else:
            with pytest.raises(grpc.RpcError, match="Too many pings"):
                next(watch)


def test_q12_a_redis_that_may_lose_jobs_is_refused_or_accepted_loudly(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)
    with redis_setting(valkey_url, "maxmemory-policy", "allkeys-lru", "noeviction"):
        with pytest.raises(FailedPreconditionError, match="allkeys-lru"), serving(settings):
            pass
        command = [
            "kdaif-server",
            "serve",
            "--authentication",
            "off",
            "--redis-url",
            valkey_url,
            "--data-dir",
            str(tmp_path),
        ]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit, match="--accept-redis-that-may-lose-jobs"):
            main()
        with serving(settings.model_copy(update={"require_durable_redis": False})) as target, Client(target) as client:
            assert list(client.list_jobs()) == []
    told = capsys.readouterr().out
    assert "ACKNOWLEDGED JOBS MAY BE LOST" in told
    assert "allkeys-lru" in told


@contextlib.contextmanager
def redis_setting(url: str, name: str, value: str, before: str) -> Iterator[None]:
    from redis import Redis

    with Redis.from_url(url) as redis:
        redis.config_set(name, value)
        try:
            yield
        finally:
            redis.config_set(name, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small tmpfs needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def table_file(folder: Path, size: int) -> Path:
    file = folder / f"{size}.parquet"
    rows = np.frombuffer(os.urandom(size), np.int64)
    pq.write_table(pa.table({"id": np.arange(len(rows)), "x": rows}), file, compression="none", use_dictionary=False)
    return file


def test_q12_a_full_disk_is_unavailable_and_loses_nothing_acknowledged(small_disk: Path, tmp_path: Path) -> None:
    """Valkey, spool and blobs share the disk. It fills up in the middle of an upload, and is freed again."""
    with EmbeddedValkey(small_disk / "valkey") as valkey:
        settings = ServerSettings(
            port=0, redis_url=valkey.url, data_dir=small_disk / "data", disk_reserve_bytes=MIB, archive_every_s=0.05
        )
        with serving(settings) as target, Client(target, patience_s=0.5) as client:
            kept = client.upload_dataset(table_file(tmp_path, MIB), name="kept")
            jobs = [submit(client).name]
            with pytest.raises(Unavailable, match="are kept in reserve"):
                client.upload_dataset(table_file(tmp_path, 16 * MIB), name="too large")
            file = table_file(tmp_path, 4 * MIB)
            assert partly_sent(target, file, 3 * MIB) == 3 * MIB
            filler = small_disk / "filler"
            fill(filler, small_disk, 0)
            with pytest.raises(Unavailable, match="go on with the upload"):
                client.upload_dataset(file, name="goes on")
            # Not even Valkey has room now: what it cannot keep it does not acknowledge.
            with pytest.raises(Unavailable):
                submit_until_refused(client, jobs)
            assert client.get_dataset(kept.name) == kept
            filler.unlink()
            wait_for(lambda: uploaded(client, file))
            wait_for(lambda: submitted(client, jobs))
            assert {job.name for job in client.list_jobs()} >= set(jobs)
            assert client.get_dataset(kept.name) == kept


def fill(file: Path, disk: Path, left: int) -> None:
    with file.open("wb") as filler, contextlib.suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > left:
            filler.write(bytes(4096))
            filler.flush()


def submit_until_refused(client: Client, jobs: list[str]) -> None:
    for number in range(2000):
        jobs.append(submit(client, name=f"job {number % 2}").name)


def uploaded(client: Client, file: Path) -> bool:
    try:
        client.upload_dataset(file, name="goes on")
    except Unavailable:
        return False
    return True


def submitted(client: Client, jobs: list[str]) -> bool:
    try:
        jobs.append(submit(client, name="after").name)
    except Unavailable:
        return False
    return True


def declare(datasets: datasets_pb2_grpc.DatasetServiceStub, file: Path) -> datasets_pb2.CreateDatasetResponse:
    data = file.read_bytes()
    request = datasets_pb2.CreateDatasetRequest(
        parent="tenants/default", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), display_name="large"
    )
    return datasets.CreateDataset(request, timeout=10)


def partly_sent(target: str, file: Path, size: int) -> int:
    """Sends the first bytes of a file and ends the stream; the committed size."""
    with grpc.insecure_channel(target) as channel:
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        name, data = declare(datasets, file).dataset.name, file.read_bytes()[:size]
        messages = [datasets_pb2.WriteDatasetRequest(data=data[at : at + MIB]) for at in range(0, size, MIB)]
        messages[0].name = name
        return int(datasets.WriteDataset(iter(messages), timeout=30).committed_size)


@contextlib.contextmanager
def serve_process(url: str, data_dir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "kdaif_server", "serve", "--authentication", "off", "--redis-url", url]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"KDAIF_DRAIN_S": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_q13_sigterm_in_an_upload_drains_and_the_client_goes_on(valkey_url: str, tmp_path: Path) -> None:
    file, port = table_file(tmp_path, 8 * MIB), free_port()
    data, target = file.read_bytes(), f"127.0.0.1:{port}"
    half = 4 * MIB
    held = threading.Event()
    with grpc.insecure_channel(target) as channel:
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        with serve_process(valkey_url, tmp_path / "data", port) as process:
            grpc.channel_ready_future(channel).result(30)
            name = declare(datasets, file).dataset.name

            def messages() -> Iterator[datasets_pb2.WriteDatasetRequest]:
                yield datasets_pb2.WriteDatasetRequest(name=name, data=data[:MIB])
                for at in range(MIB, half, MIB):
                    yield datasets_pb2.WriteDatasetRequest(data=data[at : at + MIB])
                held.wait(30)

            upload = datasets.WriteDataset.future(messages(), timeout=30)
            part = next((tmp_path / "data" / "spool").glob("*/*.part"))
            wait_for(lambda: part.stat().st_size == half)
            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            # New calls are turned away while the old one has its time.
            assert upload.exception(30).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            assert process.wait(30) == 0
            assert time.monotonic() - started > 0.9
            held.set()
        restarted = ServerSettings(port=port, redis_url=valkey_url, data_dir=tmp_path / "data")
        with serving(restarted), Client(target, patience_s=30) as client:
            assert committed_size(target, name) == half
            assert client.upload_dataset(file, name="large").size_bytes == len(data)


def committed_size(target: str, name: str) -> int:
    with grpc.insecure_channel(target) as channel:
        request = datasets_pb2.QueryWriteStatusRequest(name=name)
        return int(datasets_pb2_grpc.DatasetServiceStub(channel).QueryWriteStatus(request, timeout=10).committed_size)
