"""The group of processes that a job's child is, as far as it needs no second host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from kdaif_worker import cli, group
from kdaif_worker.child import _failure_here
from kdaif_worker.child_process import is_told_more
from kdaif_worker.messages import Assignment
from kdaif_worker.settings import WorkerSettings

from kdaif.errors import FailureReason, InvalidInputError, NotFoundError
from kdaif.records import DistillationSpec, JobState, Weighting
from tests.worker.workplace import events, workplace

_SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, weighting=Weighting(solver="cg", rows_per_shard=100_000))
_ASSIGNMENT = Assignment("default", "j", 1, "", _SPEC, "file:///nowhere", Path("nowhere"), None)


def test_a_job_whose_hosts_do_not_come_says_whom_it_waits_for_and_goes_back(
    valkey_url: str, tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    meeting, before = f"127.0.0.1:{free_ports[0]}", _started()

    async def go() -> None:
        async with workplace(
            valkey_url, tmp_path, lease_ttl_s=20.0, hosts=2, rendezvous=meeting, hosts_wait_s=1
        ) as place:
            job = await place.submit("sleep 60", max_attempts=1)
            await place.until(job, JobState.RUNNING)
            given_back, listened = None, set()
            while given_back is None:
                await asyncio.sleep(0.1)
                listened |= await asyncio.to_thread(_listened_at, before)
                given_back = next(iter(await events(place.queue, job, "requeued")), None)
            told = (await events(place.queue, job, "progress"))[0].progress
            assert told is not None
            assert told.message == f"waits up to 1 s for 2 hosts at {meeting}"
            assert given_back.failure is not None
            assert given_back.failure.message.startswith(f"Not all of 2 hosts at {meeting} came within 1 s.")
            assert listened == {"127.0.0.1"}

    asyncio.run(asyncio.wait_for(go(), 60))


def _started() -> set[psutil.Process]:
    """Every process that this one started, and those that they started."""
    return set(psutil.Process().children(recursive=True))


def _listened_at(before: set[psutil.Process]) -> set[str]:
    """Addresses of this machine at which processes that this one started, but those before, take connections."""
    found = set()
    for process in _started() - before:
        with contextlib.suppress(psutil.Error):
            found |= {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    return found


def test_a_rendezvous_that_cannot_be_opened_is_named(valkey_url: str, tmp_path: Path) -> None:
    async def go() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            meeting = f"127.0.0.1:{taken.getsockname()[1]}"
            async with workplace(valkey_url, tmp_path, lease_ttl_s=20.0, hosts=2, rendezvous=meeting) as place:
                job = await place.submit("sleep 60", max_attempts=1)
                ended = await place.until(job, JobState.DEAD, JobState.FAILED, timeout_s=50)
                assert ended.failure is not None
                assert ended.failure.message.startswith(f"The rendezvous {meeting} cannot be used on this host:")

    asyncio.run(asyncio.wait_for(go(), 60))


def test_the_failure_of_any_process_is_the_jobs(valkey_url: str, tmp_path: Path) -> None:
    """It is not worth another attempt, as that of a peer that is lost would be."""
    before = _started()

    async def go() -> None:
        failing = {"processes_per_job": 2, "child_module": "tests.worker.failing_rank"}
        async with workplace(valkey_url, tmp_path, lease_ttl_s=20.0, **failing) as place:
            job, listened = await place.submit("x"), set()
            while (ended := await place.queue.get("acme", job.id)).state not in (JobState.DEAD, JobState.FAILED):
                await asyncio.sleep(0.1)
                listened |= await asyncio.to_thread(_listened_at, before)
            assert listened == {"127.0.0.1"}
            assert ended.failure is not None
            assert (ended.failure.reason, ended.attempt) == (FailureReason.OUT_OF_MEMORY, 1)
            assert ended.failure.message.startswith("Process 1: no room for a batch")

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_group_neither_cuts_scorings_nor_takes_shards() -> None:
    """A child that waits for the end of its orders would wait for ever."""
    assert is_told_more(_ASSIGNMENT, WorkerSettings())
    assert not is_told_more(_ASSIGNMENT, WorkerSettings(processes_per_job=2))
    assert not is_told_more(_ASSIGNMENT, WorkerSettings(hosts=2, rendezvous="gpu1:29400"))


@pytest.mark.parametrize(
    ("given", "each"), [("8", "4"), ("1", "1"), ("", str(max(1, len(os.sched_getaffinity(0)) // 2)))]
)
def test_processes_share_the_cpus_of_their_host(monkeypatch: pytest.MonkeyPatch, given: str, each: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    group._share_threads(2)
    assert os.environ["OMP_NUM_THREADS"] == each


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "gpu1"])
def test_gloo_is_told_the_interface_that_others_reach(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Also where a host's own name leads back to itself, as /etc/hosts of some systems has it."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    own = {"gpu1": "127.0.1.1", group._NOBODYS_ADDRESS: "10.0.0.1"}
    monkeypatch.setattr(group, "_own_address", lambda host, _: own.get(host, "127.0.0.1"))
    monkeypatch.setattr(group, "_interface_of", {"127.0.0.1": "lo", "127.0.1.1": "lo", "10.0.0.1": "eth0"}.get)
    monkeypatch.setattr(socket, "create_server", lambda address, **_: address)
    endpoint, listening = group._meeting_place(f"{host}:29400", leads=True)
    assert endpoint == ("10.0.0.1:29400" if host == "gpu1" else f"{host}:29400")
    assert listening == ("10.0.0.1" if host == "gpu1" else "127.0.0.1", 29400)
    assert os.environ["GLOO_SOCKET_IFNAME"] == ("eth0" if host == "gpu1" else "lo")


def test_what_host_0_has_found_and_another_has_not_is_that_hosts_fault() -> None:
    missing = NotFoundError("no data set 'x'")
    assert _failure_here(missing, 0).reason is FailureReason.INVALID_DATA
    failure = _failure_here(missing, 1)
    assert (failure.reason, failure.retryable) == (FailureReason.STORAGE, True)
    assert "reach the blob store of host 0" in failure.message
    assert replace(failure, log_tail="") != failure


def test_more_processes_than_gpus_are_refused_before_a_job_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "count_gpus", lambda: 2)
    with pytest.raises(InvalidInputError, match=r"processes_per_job is 4, and this host has 2 GPU\(s\)"):
        asyncio.run(cli.work(WorkerSettings(processes_per_job=4)))
