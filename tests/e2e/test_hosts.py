"""A job that two hosts share: the stack's worker leads, and another worker with folders of its own follows."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kdaif_client import Client

from tests.e2e.conftest import running_stack
from tests.e2e.test_processes import apart, processes_of, short_job, trained
from tests.waiting import wait_for


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, free_ports: tuple[int, int]) -> None:
    monkeypatch.setenv("KDAIF_HOSTS", "2")
    monkeypatch.setenv("KDAIF_RENDEZVOUS", f"127.0.0.1:{free_ports[0]}")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@contextlib.contextmanager
def _follower(folder: Path) -> Iterator[psutil.Process]:
    """Of `hosts`; it ends when it is told to, if it was not killed."""
    with folder.with_suffix(".log").open("ab") as log:
        command = (sys.executable, "-m", "kdaif_worker", "--host-rank", "1", "--data-dir", str(folder))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGKILL)
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.usefixtures("hosts")
def test_two_hosts_make_the_student_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _follower(tmp_path / "follower"):
        trained(tmp_path / "hosts", 1, monkeypatch, "always")
    assert (tmp_path / "follower" / "cache" / "worker").is_dir()
    monkeypatch.setenv("KDAIF_HOSTS", "1")
    trained(tmp_path / "one", 1, monkeypatch)
    assert apart(tmp_path / "one", tmp_path / "hosts") < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("hosts")
def test_a_lost_follower_costs_an_attempt_and_a_lost_leader_frees_the_follower(tmp_path: Path) -> None:
    with contextlib.ExitStack() as ends:
        stack = ends.enter_context(running_stack(tmp_path))
        client = ends.enter_context(Client(stack.target))
        job = short_job(client, rounds=50)
        with _follower(tmp_path / "stopped"):
            next(event for event in job.watch() if event.kind == "round")
        given_back = next(event for event in job.watch() if event.kind == "requeued")
        assert given_back.failure is not None
        assert given_back.failure.message == "Host 1 of the group was stopped."
        with _follower(tmp_path / "first") as first:
            next(event for event in job.watch() if event.kind == "round" and event.sequence > given_back.sequence)
            [lost] = processes_of(first)
            first.kill()
            wait_for(lambda: not lost.is_running(), timeout_s=5)
        with _follower(tmp_path / "second") as second:
            job.wait(timeout_s=200)
            assert job.info.attempt == 3
            wait_for(lambda: not processes_of(second), timeout_s=20)

            job = short_job(client, rounds=50)
            next(event for event in job.watch() if event.kind == "round")
            [freed] = processes_of(second)
            stack.worker().kill()
            wait_for(lambda: not freed.is_running(), timeout_s=20)
            assert second.is_running()
            job.cancel()
