"""What an operator sees of the workers and does to them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from kdaif_worker import cli
from kdaif_worker.devices import count_gpus, gpu_kind
from kdaif_worker.settings import WorkerSettings

from kdaif.errors import NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import JobState, Scheduling, Worker, WorkerMode, WorkerOffer
from tests.worker.workplace import answered, workplace


def test_a_worker_is_listed_paused_resumed_and_drained(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = WorkerSettings(redis_url=valkey_url)

    async def scenario() -> None:
        with pytest.raises(NotFoundError, match="w1"):
            await cli.manage(settings, "pause", "w1")
        async with workplace(valkey_url, tmp_path, lease_ttl_s=0.8, gpus=2, labels=("large", "eu")) as place:

            async def in_mode(mode: WorkerMode) -> bool:
                return [worker.mode for worker in await place.queue.workers()] == [mode]

            await answered(lambda: in_mode(WorkerMode.ACTIVE))
            await cli.manage(settings, "list", None)
            line = capsys.readouterr().out.splitlines()[-1]
            assert line.split() == ["w1", "ACTIVE", "now", "2", "eu,large", "-"]
            await cli.manage(settings, "pause", "w1")
            held = await place.submit("sleep 1")
            await asyncio.sleep(0.5)  # longer than between two claims
            assert (await place.queue.get("acme", held.id)).state is JobState.QUEUED
            await cli.manage(settings, "resume", "w1")
            await place.until(held, JobState.RUNNING)
            behind = await place.submit("succeed")
            await cli.manage(settings, "drain", "w1")
            await asyncio.wait_for(place.running, 15)
            assert (await place.queue.get("acme", held.id)).state is JobState.SUCCEEDED
            assert (await place.queue.get("acme", behind.id)).state is JobState.QUEUED
            assert await place.queue.workers() == []

    asyncio.run(scenario())


def test_a_job_that_a_person_has_to_see_waits_and_the_worker_goes_on(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("review", max_attempts=1)
            waiting = await place.until(job, JobState.AWAITING_REVIEW)
            assert waiting.failure is not None
            assert waiting.failure.message == "the weights look odd"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("listed", "visible", "expected"),
    [(2, None, 2), (2, "1", 1), (2, "", 0), (2, "0,1,2", 2), (2, "-1,0", 0), (0, None, 0)],
)
def test_gpus_are_counted_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: int, visible: str | None, expected: int
) -> None:
    _with_driver(tmp_path, monkeypatch, ["NVIDIA H100"] * listed)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == expected


def _with_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    tool = folder / "nvidia-smi"
    lines = "".join(f"GPU {number}: {name} (UUID: GPU-{number})\n" for number, name in enumerate(names))
    tool.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["NVIDIA H200"] * 2, "nvidia-h200"),
        (["NVIDIA A100-SXM4-80GB"], "nvidia-a100-sxm4-80gb"),
        (["Tesla T4", "NVIDIA H200"], None),
        ([], None),
    ],
)
def test_the_kind_of_the_gpus_is_a_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], expected: str | None
) -> None:
    _with_driver(tmp_path, monkeypatch, names)
    assert gpu_kind() == expected
    if expected is not None:
        assert WorkerOffer("w1", 1, frozenset({expected})).suits(Scheduling(gpus=1, worker_labels=(expected,)))


def test_a_worker_offers_the_kind_of_its_gpus(valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_driver(tmp_path, monkeypatch, ["NVIDIA H200"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    async def scenario() -> None:
        settings = WorkerSettings(redis_url=valkey_url, data_dir=tmp_path, worker_name="w1", labels=("eu",))
        working = asyncio.create_task(cli.work(settings))
        queue = await JobQueue.connect(valkey_url)
        try:
            offer = (await answered(lambda: _first(queue))).offer
            assert (offer.gpus, offer.labels) == (1, {"eu", "nvidia-h200"})
            await queue.drain_worker("w1")
            await asyncio.wait_for(working, 20)
        finally:
            await queue.close()

    asyncio.run(scenario())


async def _first(queue: JobQueue) -> Worker | None:
    return next(iter(await queue.workers()), None)


def test_no_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_gpus() == 0


@pytest.mark.parametrize("words", [["pause"], ["drain"], ["list", "w1"], ["run", "w1"], ["stop"]])
def test_a_verb_without_its_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kdaif-worker", *words])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "kdaif-worker: error" in capsys.readouterr().err
