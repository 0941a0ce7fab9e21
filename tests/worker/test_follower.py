"""A host that follows another, as far as it does so alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from kdaif_worker.child_process import _program
from kdaif_worker.follower import follow
from kdaif_worker.settings import WorkerSettings
from pydantic import ValidationError

from tests.waiting import wait_for


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"hosts": 2}, "need a rendezvous"),
        ({"hosts": 2, "host_rank": 2, "rendezvous": "gpu1:29400"}, "the last is 1"),
        ({"host_rank": 1}, "the last is 0"),
        ({"rendezvous": "gpu1"}, "pattern"),
    ],
)
def test_a_group_that_cannot_meet_is_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WorkerSettings.model_validate(given)


def test_one_process_of_each_of_two_hosts_is_a_group() -> None:
    program = _program(WorkerSettings(hosts=2, rendezvous="gpu1:29400"))
    assert "kdaif_worker.group" in program
    assert program[-8:-2] == ("--hosts", "2", "--host-rank", "0", "--rendezvous", "gpu1:29400")


def test_without_anybody_to_follow_it_waits_ready_and_ends_when_told(
    tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    ready = tmp_path / "ready"
    settings = WorkerSettings(hosts=2, host_rank=1, rendezvous=f"127.0.0.1:{free_ports[0]}", ready_file=ready)

    async def waiting() -> float:
        stopping = asyncio.Event()
        following = asyncio.create_task(follow(settings, stopping))
        await asyncio.to_thread(wait_for, ready.exists)
        stopping.set()
        told = time.monotonic()
        await following
        return time.monotonic() - told

    assert asyncio.run(waiting()) < 5
    assert not ready.exists()
