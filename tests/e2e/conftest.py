"""A real stack for the end-to-end tests: `kdaif-server up` in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from kdaif_client import Client

from tests.waiting import wait_for

LEASE_TTL_S = 4.0


@dataclass(frozen=True)
class Stack:
    """A running stack and what a test may do to it."""

    process: subprocess.Popen[bytes]
    target: str
    dashboard: str
    data_dir: Path

    def worker(self) -> psutil.Process:
        return wait_for(lambda: self._with_argument("kdaif_worker", psutil.Process(self.process.pid).children()))

    def training_child(self) -> psutil.Process:
        return wait_for(lambda: self._with_argument("kdaif_worker.child", self.worker().children()))

    @staticmethod
    def _with_argument(argument: str, processes: list[psutil.Process]) -> psutil.Process | None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if argument in process.cmdline():
                    return process
        return None


@contextlib.contextmanager
def running_stack(folder: Path, *, data_dir: Path | None = None, options: tuple[str, ...] = ()) -> Iterator[Stack]:
    ready = folder / "ready.json"
    log = (folder / "stack.log").open("wb")
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "kdaif_server",
                "up",
                "--port",
                "0",
                "--data-dir",
                str(data_dir or folder / "data"),
            ),
            *("--ready-file", str(ready), "--lease-ttl-s", str(LEASE_TTL_S), "--reflection", *options),
        ],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:

        def started() -> bool:
            assert process.poll() is None, (folder / "stack.log").read_text()
            return ready.exists()

        wait_for(started, timeout_s=30)
        told = json.loads(ready.read_text())
        yield Stack(process, told["target"], told["dashboard"], data_dir or folder / "data")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that leave it as they found it."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack for a test that harms it."""
    with running_stack(tmp_path) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.target) as connected:
        yield connected
