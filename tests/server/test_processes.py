"""Several server processes behind one port: all answer, one that dies is missed by nobody, all drain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kdaif_client import Client, Job
from kdaif_client._rpc import Rpc
from kdaif_proto.v1 import jobs_pb2
from kdaif_server.observability.health_check import healthy
from kdaif_server.processes import work_in_turns
from kdaif_server.settings import ServerSettings

from kdaif.records import JobState
from tests.server.serving import submit, with_queue
from tests.waiting import wait_for

PROCESSES = 2


class Program:
    """`kdaif-server serve --processes 2`, with pages of metrics at two ports one after the other."""

    def __init__(self, redis_url: str, folder: Path, port: int, *options: str) -> None:
        self.port = port
        self.options = options
        self.log = folder / "server.log"
        command = [sys.executable, "-m", "kdaif_server", "serve", "--port", str(port), "--processes", str(PROCESSES)]
        command += ["--authentication", "off", "--redis-url", redis_url, "--data-dir", str(folder / "data"), *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"KDAIF_LOG_FORMAT": "json"}
            )

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def said(self, event: str) -> int:
        return self.log.read_text().count(event)

    def servers(self) -> list[psutil.Process]:
        """The processes that listen at the port; gRPC does so by several sockets each."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                listening = [each for each in child.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
                if any(each.laddr.port == self.port for each in listening):
                    found.append(child)
        return found


@pytest.fixture
def program(valkey_url: str, tmp_path: Path) -> Iterator[Program]:
    metrics, health = f"127.0.0.1:{free_port(PROCESSES)}", f"127.0.0.1:{free_port()}"
    running = Program(valkey_url, tmp_path, free_port(), "--metrics", metrics, "--health", health)
    try:
        wait_for(lambda: running.said("all processes serve") or running.process.poll() is not None, timeout_s=60)
        assert running.process.poll() is None, running.log.read_text()
        yield running
    finally:
        running.process.kill()  # its children die with it
        running.process.wait()


def free_port(ports: int = 1) -> int:
    """The first of so many that are free, one after the other."""
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for number in range(1, ports):
                held.enter_context(socket.create_server(("127.0.0.1", first + number)))
            return int(first)


def test_connections_spread_and_one_that_dies_is_replaced(program: Program) -> None:
    first, second = program.servers()
    with Client(program.target, patience_s=30) as client, contextlib.ExitStack() as connected:
        job = submit(client)
        rpcs = [Rpc(program.target, 30, shares_connection=False) for _ in range(20)]
        for rpc in rpcs:
            connected.callback(rpc.close)
        ask_all(rpcs, job)
        wait_for(lambda: clients_of(first, program.port) and clients_of(second, program.port))
        assert clients_of(first, program.port) + clients_of(second, program.port) > len(rpcs)
        second.send_signal(signal.SIGKILL)
        ask_all(rpcs, job)  # those whose process is gone connect to another
        wait_for(lambda: len(program.servers()) == PROCESSES, timeout_s=60)
        assert second.pid not in {each.pid for each in program.servers()}
        assert program.said("A SERVER PROCESS ENDED") == 1
        ask_all(rpcs, job)
        assert healthy(ServerSettings(health=program.options[-1]), "") == 0


def test_all_of_them_drain(program: Program, valkey_url: str) -> None:
    with Client(program.target, patience_s=2) as client:
        job = submit(client)
        events = [job.watch() for _ in range(6)]
        assert {next(each).sequence for each in events} == {1}
        servers = program.servers()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(30) == 0
        assert program.said('"draining"') == PROCESSES
        assert not any(each.is_running() for each in servers)
    job_id = job.name.rsplit("/", 1)[-1]
    assert with_queue(valkey_url, lambda queue: queue.get("default", job_id)).state is JobState.QUEUED


@pytest.mark.parametrize("option", ["--port", "--health"])
def test_a_port_that_another_holds_is_refused(valkey_url: str, tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        more = ("--health", f"127.0.0.1:{port}") if option == "--health" else ()
        refused = Program(valkey_url, tmp_path, 0 if more else port, *more)
        assert refused.process.wait(60) == 1
    said = refused.log.read_text()
    assert f"127.0.0.1:{port} is in use" in said
    assert f"choose {option}." in said


def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    refused = Program(f"redis://127.0.0.1:{free_port()}/0", tmp_path, 0)
    assert refused.process.wait(60) == 1
    assert refused.said("does not serve") == 1
    assert "process 0 of the server ended with 1 before it served" in refused.log.read_text()


def test_what_two_processes_cannot_share_is_the_first_ones_alone(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path, metrics=":9464", dashboard="127.0.0.1:8080")
    assert settings.of_process(0) == settings
    third = settings.of_process(2)
    assert (third.metrics, third.dashboard_address) == (":9466", None)
    assert third.cache_dir == settings.cache_dir / "process-2"
    assert third.spool_dir == settings.spool_dir  # an upload goes on at another process
    assert ServerSettings(metrics="127.0.0.1:0").of_process(1).metrics == "127.0.0.1:0"
    assert ServerSettings().of_process(1).metrics == ""


@pytest.mark.skipif(sys.platform != "linux", reason="a policy of Linux")
def test_threads_of_a_server_do_not_interrupt_each_other() -> None:
    found = []

    def work() -> None:  # the policy is that of a thread, and of those that it starts
        work_in_turns()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [os.SCHED_BATCH]


def ask_all(rpcs: list[Rpc], job: Job) -> None:
    for rpc in rpcs:
        request = jobs_pb2.GetDistillationJobRequest(name=job.name)
        assert rpc.call(rpc.jobs.GetDistillationJob, request).job.name == job.name


def clients_of(server: psutil.Process, port: int) -> int:
    connections = server.net_connections("tcp")
    return sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in connections)
