"""A scoring that several workers share, in a real stack, while its workers are stopped and killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import Client, Dataset, Job, Mlp, TrainedTeacher, Training, Weighting
from redis import Redis

from tests.e2e.conftest import Stack, running_stack
from tests.waiting import wait_for

POOL, PER_SHARD = 16_000, 2_000
SHARDS = POOL // PER_SHARD


class Bench:
    """A stack, its data, and what a test asks of it."""

    def __init__(self, stack: Stack, client: Client, folder: Path) -> None:
        self.stack, self.client, self._folder = stack, client, folder
        random = np.random.default_rng(0)
        self._labeled = self._upload("labeled", random, 600, labelled=True)
        self._pool = self._upload("pool", random, POOL, labelled=False)

    def _upload(self, name: str, random: np.random.Generator, rows: int, *, labelled: bool) -> Dataset:
        features = random.normal(size=(rows, 8)).astype(np.float32)
        columns: dict[str, Any] = {"features": features}
        if labelled:
            columns["label"] = np.where(features[:, 0] * features[:, 1] > 0, "cat", "dog")
        return self.client.upload_dataset(columns, name=name)

    def submit(self, rows_per_shard: int) -> Job:
        """One scoring, of some seconds."""
        weighting = Weighting(solver="cg", blocks=32, cg_steps=2, canary_bar=0.0, rows_per_shard=rows_per_shard)
        return self.client.submit(
            self._labeled,
            self._pool,
            teacher=TrainedTeacher(Mlp((32,)), epochs=3),
            student=Mlp(hidden_sizes=(256, 256)),
            training=Training(rounds=1, epochs_per_round=1, seeds=1, batch_size=512),
            weighting=weighting,
            control_arms=("supervised",),
        )

    def weights(self, job: Job, attempt: int = 1) -> pa.Table:
        """As they were written, but for the job's name in the file's metadata."""
        [file] = self._job_folder(job).glob(f"attempt-{attempt}/weights/*.parquet")
        return pq.read_table(file).replace_schema_metadata(None)

    def scores(self, job: Job) -> dict[str, int]:
        """Files of scores by name, and when they were written."""
        return {file.name: file.stat().st_mtime_ns for file in self._job_folder(job).glob("shards/scores-*")}

    def lose_rows(self, job: Job) -> None:
        """Of all shards."""
        for file in self._job_folder(job).glob("shards/rows-*"):
            file.unlink()

    def left(self, job: Job) -> list[str]:
        """Files of its shards."""
        return [file.name for file in self._job_folder(job).glob("shards/*")]

    def _job_folder(self, job: Job) -> Path:
        return self.stack.data_dir / "blobs" / "tenants" / "default" / "jobs" / job.name.rpartition("/")[2]

    @contextlib.contextmanager
    def second_worker(self) -> Iterator[psutil.Process]:
        environment = self.stack.worker().environ() | {
            "KDAIF_WORKER_NAME": "second",
            "KDAIF_CACHE_DIR": str(self._folder / "second"),
        }
        with (self._folder / "second.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "kdaif_worker"], env=environment, stderr=log, stdout=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()

    def kept(self) -> list[str]:
        """Whatever names a shard in Redis."""
        with Redis.from_url(self.stack.worker().environ()["KDAIF_REDIS_URL"], decode_responses=True) as redis:
            keys = redis.keys("kdaif:{default}:*")
            found = [key for key in keys if "-" in key.rpartition(":")[2] or key.endswith(":shards")]
            leases: Any = redis.zrange("kdaif:{default}:leases", 0, -1)
            line: Any = redis.zrange("kdaif:{default}:line", 0, -1)
            return found + [name for name in (*leases, *line) if "-" in name]


def shards_told(job: Job, attempt: int = 1) -> list[str]:
    of_attempt = [event for event in job.watch() if event.attempt == attempt]
    messages = [event.progress.message for event in of_attempt if event.progress is not None]
    return [message for message in messages if message.startswith("influence: ")]


def stopped_child(worker: psutil.Process) -> psutil.Process:
    """Holds a shard, whose lease is renewed, and scores nothing."""
    [child] = wait_for(worker.children, timeout_s=60)
    child.send_signal(signal.SIGSTOP)
    return child


def running(job: Job) -> bool:
    return str(job.refresh().state).endswith("RUNNING")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("shards")
    with running_stack(folder) as stack, Client(stack.target) as client:
        yield Bench(stack, client, folder)


@pytest.fixture(scope="module")
def whole(bench: Bench) -> pa.Table:
    """The weights of a job that is not cut."""
    job = bench.submit(0)
    job.wait(timeout_s=120)
    return bench.weights(job)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_worker_alone_scores_every_shard(bench: Bench, whole: pa.Table) -> None:
    job = bench.submit(PER_SHARD)
    job.wait(timeout_s=120)
    told = shards_told(job)
    assert told[0] == f"influence: 0 of {SHARDS} shards"
    assert told[-1] == f"influence: {SHARDS} of {SHARDS} shards"
    assert len(told) > 2
    assert bench.weights(job).equals(whole)
    assert bench.kept() == []
    wait_for(lambda: bench.scores(job) == {}, timeout_s=20)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_shard_whose_process_is_killed_is_tried_again_alone(bench: Bench, whole: pa.Table) -> None:
    job = bench.submit(PER_SHARD)
    wait_for(lambda: running(job), timeout_s=30)
    with bench.second_worker() as second:
        child = stopped_child(second)
        # All others are scored, and the job waits for the one that is held.
        wait_for(lambda: len(bench.scores(job)) == SHARDS - 1, timeout_s=120)
        listed = [each.name for each in bench.client.list_jobs()]
        assert job.name in listed
        assert not any("-" in name.rpartition("/")[2] for name in listed)
        child.kill()
        job.wait(timeout_s=120)
    assert job.refresh().info.attempt == 1
    again = [message for message in shards_told(job) if "took" in message]
    assert again
    assert again[-1].count("took 2 attempts") == 1
    assert "," not in again[-1]
    assert bench.weights(job).equals(whole)
    assert bench.kept() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_workers_share_a_scoring(bench: Bench, whole: pa.Table) -> None:
    job = bench.submit(PER_SHARD)
    wait_for(lambda: running(job), timeout_s=30)
    with bench.second_worker() as second:
        child = stopped_child(second)
        child.send_signal(signal.SIGCONT)
        job.wait(timeout_s=120)
    assert not any("took" in message for message in shards_told(job))
    assert "finished" in (bench._folder / "second.log").read_text()
    assert bench.weights(job).equals(whole)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cancelled_job_leaves_no_shard_behind(bench: Bench) -> None:
    job = bench.submit(PER_SHARD)
    wait_for(lambda: running(job), timeout_s=30)
    with bench.second_worker() as second:
        child = stopped_child(second)
        assert bench.kept() != []
        job.cancel()
        wait_for(lambda: bench.kept() == [], timeout_s=60)
        wait_for(lambda: not child.is_running(), timeout_s=60)
    wait_for(lambda: str(job.refresh().state).endswith("CANCELLED"), timeout_s=60)
    wait_for(lambda: bench.left(job) == [], timeout_s=60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_rows_that_the_store_lost_cost_an_attempt(bench: Bench, whole: pa.Table) -> None:
    job = bench.submit(PER_SHARD)
    wait_for(lambda: running(job), timeout_s=30)
    with bench.second_worker() as second:
        child = stopped_child(second)
        wait_for(lambda: len(bench.scores(job)) == SHARDS - 1, timeout_s=120)
        bench.lose_rows(job)
        child.send_signal(signal.SIGCONT)
        job.wait(timeout_s=180)
    assert job.refresh().info.attempt == 2
    [first, *_] = shards_told(job, attempt=2)
    assert first.startswith(f"influence: {SHARDS - 1} of {SHARDS} shards")
    assert bench.weights(job, attempt=2).equals(whole)
    assert bench.kept() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_attempt_after_a_killed_worker_uses_what_is_scored(bench: Bench, whole: pa.Table) -> None:
    job = bench.submit(PER_SHARD)
    wait_for(lambda: running(job), timeout_s=30)
    with bench.second_worker() as second:
        stopped_child(second)
        wait_for(lambda: len(bench.scores(job)) >= 2, timeout_s=120)
        bench.stack.worker().kill()
        before = bench.scores(job)
        # Not the second worker, whose child is stopped: it would hold the one shard on.
    wait_for(lambda: job.refresh().info.attempt == 2, timeout_s=60)
    wait_for(lambda: len(bench.scores(job)) >= SHARDS, timeout_s=120)
    after = bench.scores(job)
    assert {name: after[name] for name in before} == before
    job.wait(timeout_s=120)
    assert job.refresh().info.attempt == 2
    [first, *_] = shards_told(job, attempt=2)
    assert int(first.split()[1]) >= len(before)
    assert bench.weights(job, attempt=2).equals(whole)
    assert bench.kept() == []
