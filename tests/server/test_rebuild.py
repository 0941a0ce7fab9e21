"""Redis is lost; the blob store brings everything back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kdaif_client import Client, JobState
from kdaif_proto.v1 import jobs_pb2
from kdaif_server.cli import main
from kdaif_server.rebuild import Rebuilt, rebuild_index
from kdaif_server.settings import ServerSettings
from kdaif_server.upkeep import Upkeep
from redis import Redis

from kdaif.datasets import inspect
from kdaif.errors import FailureReason, FencedError
from kdaif.queue import Claim, JobQueue
from kdaif.records import DistillationSpec, Failure, JobResult, PreflightReport, WorkerOffer
from kdaif.records import JobState as QueueState
from kdaif.store import BlobStore, DatasetStore, layout
from tests.client.conftest import make_bundle
from tests.server.serving import serving, submit, succeed_next, weights, with_queue
from tests.waiting import wait_for


def saved(url: str) -> bool:
    """Whether the archive has caught up."""
    with Redis.from_url(url, decode_responses=True) as redis:
        return not list(redis.scan_iter("kdaif:*:unsaved"))


def rebuild(url: str, blobs: BlobStore) -> Rebuilt:
    return with_queue(url, lambda queue: rebuild_index(queue, blobs))


def claim_next(url: str) -> Claim:
    async def claim(queue: JobQueue) -> Claim | None:
        return await queue.claim(WorkerOffer("w"))

    found = with_queue(url, claim)
    assert found is not None
    return found


def read(client: Client, name: str) -> jobs_pb2.DistillationJob:
    request = jobs_pb2.GetDistillationJobRequest(name=name)
    return client._rpc.jobs.GetDistillationJob(request, timeout=10).job  # the whole message, not what the SDK shows


def test_an_empty_redis_gets_everything_back(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data", archive_every_s=0.02)
    blobs = BlobStore.open(settings.blob_url)
    bundle = make_bundle("numeric", (4,), ["a", "b", "c", "d"]).files
    with serving(settings) as target, Client(target) as client:
        done = submit(client, "request-done", "done")
        succeed_next(valkey_url, blobs, bundle, weights(50), tmp_path)
        cancelled = submit(client, name="cancelled").cancel()
        running = submit(client, name="running")
        lost = claim_next(valkey_url)
        queued = [submit(client, f"request-{number}", "queued") for number in range(3)]
        wait_for(lambda: saved(valkey_url))
        over = {name: read(client, name) for name in (done.name, cancelled.name)}
        waiting = {job.name: read(client, job.name) for job in queued}
        datasets = list(client.list_datasets())
        with Redis.from_url(valkey_url) as redis:
            redis.flushall()
        assert list(client.list_jobs()) == []

        found = rebuild(valkey_url, blobs)
        assert (found.restored.total(), found.present, found.lost) == (6, 0, [])
        assert (found.tenants, found.datasets, found.students) == (1, len(datasets), 1)
        again = rebuild(valkey_url, blobs)
        assert (again.restored.total(), again.present, again.lost) == (0, 6, [])

        assert {name: read(client, name) for name in over} == over
        assert {name: read(client, name) for name in waiting} == waiting
        assert list(client.list_datasets()) == datasets
        assert [job.name for job in client.list_jobs([JobState.SUCCEEDED])] == [done.name]
        done.refresh()
        assert done.download_bundle(tmp_path / "student").is_dir()
        assert [row.weight for row in done.weights(limit=3)] == [0.0, 1.0, 2.0]
        assert submit(client, "request-done", "done").name == done.name
        assert submit(client, "request-1", "queued").name == queued[1].name

        # The attempt that ran when Redis was lost may still be at work, and must not finish what runs anew.
        assert running.refresh().state is JobState.QUEUED
        with pytest.raises(FencedError):
            with_queue(valkey_url, lambda queue: queue.succeed(lost, JobResult(1, (), "late", 1.0)))
        order = [succeed_next(valkey_url, blobs, bundle, weights(5), tmp_path) for _ in range(4)]
        assert order == [job.name.rpartition("/")[2] for job in (running, *queued)]
        assert {job.refresh().state for job in (running, *queued)} == {JobState.SUCCEEDED}
        assert cancelled.retry().state is JobState.QUEUED
        wait_for(lambda: saved(valkey_url))
        with Redis.from_url(valkey_url) as redis:
            redis.flushall()
    # A second loss, and what happened since the first is kept as well.
    with serving(settings) as target, Client(target) as client:
        assert "REDIS IS EMPTY, BUT THE STORE HOLDS JOBS" in capsys.readouterr().out
        again = rebuild(valkey_url, blobs)
        assert dict(again.restored) == {QueueState.SUCCEEDED: 5, QueueState.QUEUED: 1}
        assert cancelled.name in [job.name for job in client.list_jobs([JobState.QUEUED])]


def test_the_command_tells_what_it_could_not_restore(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data", archive_every_s=0.02)
    blobs = BlobStore.open(settings.blob_url)
    with serving(settings) as target, Client(target) as client:
        jobs = [submit(client, name=str(number)) for number in range(3)]
        claim_next(valkey_url)
        wait_for(lambda: saved(valkey_url))
    ids = [job.name.rpartition("/")[2] for job in jobs]
    folder = layout.job_folder("default", ids[1])
    damaged = blobs.files(folder)[0]
    blobs.replace_bytes(damaged, b"{}")
    blobs.delete(blobs.files(layout.job_folder("default", ids[2]))[0])
    with Redis.from_url(valkey_url) as redis:
        redis.flushall()
    command = ["kdaif-server", "rebuild-index", "--redis-url", valkey_url, "--data-dir", str(tmp_path / "data")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "jobs restored: 1 (1 QUEUED)" in told
    assert damaged in told
    assert f"no record of job {ids[2]}" in told


def test_a_deleted_job_does_not_come_back(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data", archive_every_s=0.02)
    blobs = BlobStore.open(settings.blob_url)
    with serving(settings) as target, Client(target) as client:
        job = submit(client)
        job_id = succeed_next(valkey_url, blobs, {"model.onnx": b"x"}, weights(5), tmp_path)
        folder = layout.job_folder("default", job_id)
        wait_for(lambda: saved(valkey_url))
        # Its worker died before it could drop the checkpoints.
        wait_for(lambda: not list(blobs.entries(layout.checkpoints("default", job_id, 1))))
        with_queue(valkey_url, lambda queue: queue.delete("default", job_id))
        wait_for(lambda: not list(blobs.entries(folder)))
        assert list(client.list_jobs()) == []
        assert len(list(client.list_datasets())) == 2
    assert rebuild(valkey_url, blobs).restored.total() == 0
    assert job.name.endswith(job_id)


def test_old_jobs_are_deleted_and_young_ones_and_data_sets_kept(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(
        port=0,
        redis_url=valkey_url,
        data_dir=tmp_path / "data",
        archive_every_s=0.02,
        sweep_every_s=0.05,
        keep_finished_days=1.0,
    )
    blobs = BlobStore.open(settings.blob_url)
    with serving(settings) as target, Client(target) as client:
        old, young, queued = (submit(client, name=name) for name in ("old", "young", "queued"))
        for job in (old, young):
            job.cancel()
        wait_for(lambda: saved(valkey_url))
        old_id = old.name.rpartition("/")[2]
        with Redis.from_url(valkey_url) as redis:
            redis.zadd("kdaif:{default}:ended", {old_id: 1}, xx=True)  # it ended in 1970
        wait_for(lambda: not list(blobs.entries(layout.job_folder("default", old_id))))
        assert {job.name for job in client.list_jobs()} == {young.name, queued.name}
        assert list(client.list_datasets())
    assert rebuild(valkey_url, blobs).present == 2


def test_the_last_changes_are_archived_when_the_server_stops(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data", archive_every_s=3600.0)
    with serving(settings) as target, Client(target) as client:
        submit(client)
        assert not saved(valkey_url)
    assert saved(valkey_url)
    with Redis.from_url(valkey_url) as redis:
        redis.flushall()
    assert rebuild(valkey_url, BlobStore.open(settings.blob_url)).restored.total() == 1


def commands(name: str) -> str:
    """A block of docs/operations.md that is marked as tested."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    return page.split(f"<!-- tested: {name} -->\n```sh\n")[1].partition("```")[0]


def test_the_documented_backup_restores_into_another_store(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data", archive_every_s=0.02)
    bundle = make_bundle("numeric", (4,), ["a", "b", "c", "d"]).files
    places = {"STORE": tmp_path / "data" / "blobs", "BACKUP": tmp_path / "backup", "NEW_STORE": tmp_path / "new"}
    places["BACKUP"].mkdir()
    places["NEW_STORE"].mkdir()
    environment = os.environ | {name: str(place) for name, place in places.items()}
    with serving(settings) as target, Client(target) as client:
        done, queued = submit(client, name="done"), submit(client, name="queued")
        succeed_next(valkey_url, BlobStore.open(settings.blob_url), bundle, weights(5), tmp_path)
        wait_for(lambda: saved(valkey_url))
        (places["STORE"] / "tenants" / ".staged-half").write_bytes(b"half")
        subprocess.run(["sh", "-e", "-c", commands("backup")], env=environment, check=True)
        datasets = list(client.list_datasets())
    shutil.rmtree(places["STORE"])
    with Redis.from_url(valkey_url) as redis:
        redis.flushall()
    subprocess.run(["sh", "-e", "-c", commands("restore")], env=environment, check=True)
    new = settings.model_copy(update={"store_url": f"file://{places['NEW_STORE']}"})
    assert rebuild(valkey_url, BlobStore.open(new.blob_url)).lines()[:4] == [
        "tenants: 1",
        "jobs restored: 2 (1 QUEUED, 1 SUCCEEDED)",
        "jobs that were there already: 0",
        "jobs that could not be restored: 0",
    ]
    assert not list(places["NEW_STORE"].rglob(".staged-*"))
    with serving(new) as target, Client(target) as client:
        assert {job.name for job in client.list_jobs()} == {done.name, queued.name}
        assert list(client.list_datasets()) == datasets
        assert client.get_job(done.name).download_bundle(tmp_path / "student").is_dir()


def test_of_a_job_that_failed_the_checkpoint_stays_and_the_shards_go(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(redis_url=valkey_url, data_dir=tmp_path)
    blobs = BlobStore.open(settings.blob_url)

    async def scenario(queue: JobQueue) -> None:
        spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
        job = await queue.submit("acme", spec, PreflightReport(), request_id="")
        claim = await queue.claim(WorkerOffer("w1"))
        assert claim is not None
        checkpoint = layout.checkpoint("acme", job.id, 1, 1)
        rows = layout.shard_rows("acme", job.id, "cd" * 32)
        for path in (checkpoint, rows):
            blobs.put_bytes(path, b"x")
        upkeep = Upkeep(settings, queue, blobs, DatasetStore(blobs, tmp_path / "spool", inspect))
        await upkeep.archive()
        assert blobs.exists(rows)
        # Its worker died before it could remove them.
        await queue.fail(claim, Failure(FailureReason.INTERNAL, "a bug", retryable=False))
        await upkeep.archive()
        assert (blobs.exists(checkpoint), blobs.exists(rows)) == (True, False)

    with_queue(valkey_url, scenario)


def test_a_record_that_was_written_while_its_job_was_deleted_goes_too(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(redis_url=valkey_url, data_dir=tmp_path)
    blobs = BlobStore.open(settings.blob_url)

    async def scenario(queue: JobQueue) -> None:
        spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)
        job = await queue.submit("acme", spec, PreflightReport(), request_id="")
        await queue.cancel("acme", job.id)
        upkeep = Upkeep(settings, queue, blobs, DatasetStore(blobs, tmp_path / "spool", inspect))
        [snapshot] = await queue.unsaved(10)
        await queue.delete("acme", job.id)
        await upkeep.archive()  # of another server: it erases what the job left
        await upkeep.save(snapshot)  # of a server that was slow
        assert list(blobs.entries(layout.job_folder("acme", job.id))) == []

    with_queue(valkey_url, scenario)
