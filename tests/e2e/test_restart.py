"""A real server is killed and restarted under clients that are at work, who do not notice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from kdaif_client import Client, JobState

from tests.client.in_loop import in_loop
from tests.server.serving import submit, with_queue


class Server:
    """`kdaif-server serve` in a process of its own, always at the same port."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = (sys.executable, "-m", "kdaif_server", "serve", "--port", str(self.port))
        self._command += ("--authentication", "off")
        self._environment = os.environ | {"KDAIF_REDIS_URL": redis_url, "KDAIF_DATA_DIR": str(folder / "data")}
        self._log = folder / "server.log"
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        with grpc.insecure_channel(self.target) as channel:
            grpc.channel_ready_future(channel).result(60)

    def end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(30)


@pytest.fixture
def server(valkey_url: str, tmp_path: Path) -> Iterator[Server]:
    running = Server(valkey_url, tmp_path)
    yield running
    with contextlib.suppress(ProcessLookupError):
        running.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("connect", [Client, in_loop], ids=["blocking", "async"])
def test_calls_and_watches_outlast_a_restart(server: Server, valkey_url: str, connect: Any, number: int) -> None:
    with connect(server.target) as client:
        job = submit(client)
        events = job.watch()
        assert next(events).sequence == 1
        over = threading.Event()

        def call() -> int:
            calls = 0
            while not over.is_set():
                assert client.get_job(job.name).name == job.name
                calls += 1
            return calls

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(call) for _ in range(4)]
            try:
                server.end(signal.Signals(number))
                server.start()
            finally:
                over.set()
            assert all(caller.result(60) > 0 for caller in callers)
        tenant, job_id = "default", job.name.rsplit("/", 1)[-1]
        with_queue(valkey_url, lambda queue: queue.cancel(tenant, job_id))
        seen = list(events)
        assert [event.sequence for event in seen] == list(range(2, 2 + len(seen)))
        assert seen[-1].state is JobState.CANCELLED
        assert [event.sequence for event in job.watch(after_sequence=1)] == [event.sequence for event in seen]
