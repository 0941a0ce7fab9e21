"""A rolling upgrade: what the version before left in Redis, and its workers, beside the server of this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, Training
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.settings import ServerSettings
from redis import Redis

from kdaif.queue import SCHEMA_VERSION, JobQueue, keys
from kdaif.records import DistillationSpec, PreflightReport
from tests.server.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
PREVIOUS = "bcdfdd9"
"""The last commit before data in Redis had a version; a tag takes its place once there is one."""

_SUBMITS = """
import asyncio, sys
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, PreflightReport

async def main():
    queue = await JobQueue.connect(sys.argv[1])
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, max_attempts=2)
    job = await queue.submit("acme", spec, PreflightReport(), request_id="r-1", display_name="of old")
    await queue.close()
    print(job.id)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which Python finds the packages of the version before."""
    tag = _git("describe", "--tags", "--abbrev=0", "HEAD^")
    revision = tag.stdout.decode().strip() if tag.returncode == 0 else PREVIOUS
    archive = _git("archive", revision, "kdaif", "worker")
    if archive.returncode:
        pytest.skip(f"this checkout does not have the commit {revision}: clone it with its history")
    folder = tmp_path_factory.mktemp("previous")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'worker'}"}
    for package in ("kdaif", "kdaif_worker"):
        command = [sys.executable, "-c", f"import {package}; print({package}.__file__)"]
        found = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
        assert found.stdout.startswith(str(folder))
    return environment


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


@contextlib.contextmanager
def older_worker(environment: dict[str, str], redis_url: str, blobs: str, folder: Path) -> Iterator[Path]:
    """Its log. Ended by SIGTERM."""
    its_own = {"KDAIF_REDIS_URL": redis_url, "KDAIF_STORE_URL": blobs, "KDAIF_DATA_DIR": str(folder / "worker")}
    log = folder / "worker.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "kdaif_worker"], env=environment | its_own, cwd=folder, stdout=sink, stderr=sink
        )
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_a_worker_of_the_version_before_trains_for_this_server(previous: dict[str, str], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(240, 4)).astype(np.float32)
    labels = np.where(features[:, 0] > 0, "cat", "dog")
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        settings = ServerSettings(port=0, redis_url=valkey.url, data_dir=tmp_path / "server", reflection=True)
        with (
            serving(settings) as target,
            older_worker(previous, valkey.url, settings.blob_url, tmp_path) as log,
            Client(target) as client,
        ):
            labeled = client.upload_dataset({"features": features, "label": labels}, name="labeled")
            unlabeled = client.upload_dataset({"features": features[:120] + 0.01}, name="pool")
            training = Training(rounds=2, epochs_per_round=1, seeds=1)
            job = client.submit(labeled, unlabeled, training=training, request_id="upgrade")
            job.wait(timeout_s=150)
            assert job.state.name == "SUCCEEDED", log.read_text()
            assert len(list(job.weights(limit=10))) == 10
            assert client.submit(labeled, unlabeled, training=training, request_id="upgrade").name == job.name
            student = job.download_student(tmp_path / "student")
            assert sorted(student.class_names) == ["cat", "dog"]


def test_what_the_version_before_queued_is_brought_up_to_date(previous: dict[str, str], tmp_path: Path) -> None:
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, max_attempts=2)

    async def again(url: str) -> str:
        queue = await JobQueue.connect(url)
        try:
            job = await queue.submit("acme", spec, PreflightReport(), request_id="r-1", display_name="of old")
        finally:
            await queue.close()
        return job.id

    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        command = [sys.executable, "-c", _SUBMITS, valkey.url]
        made = subprocess.run(command, env=previous, cwd=tmp_path, capture_output=True, text=True, check=True)
        with serving(ServerSettings(port=0, redis_url=valkey.url, data_dir=tmp_path / "server")) as target:
            with Client(target, tenant="acme") as client:
                [job] = client.list_jobs()
                assert (job.name.rpartition("/")[2], job.info.display_name) == (made.stdout.strip(), "of old")
            assert asyncio.run(again(valkey.url)) == made.stdout.strip()
        with Redis.from_url(valkey.url, decode_responses=True) as redis:
            assert redis.hget(keys.SCHEMA, "version") == str(SCHEMA_VERSION)
