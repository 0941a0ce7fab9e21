"""The system under test: real processes, each connection through a proxy, disks that can be full."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kdaif_server.embedded.valkey import EmbeddedValkey
from redis import Redis

from kdaif.errors import KdaifError
from kdaif.store import BlobStore
from tests.chaos.disk import Disk
from tests.chaos.plan import Plan
from tests.chaos.proxy import Network, Proxy

RUN_TAG = "KDAIF_CHAOS_RUN"
_TAKEN = re.compile(rb" claimed .*-[0-9a-f]{16}-[0-9]{4}")
_ROOT = Path(__file__).resolve().parents[2]
_PATHS = (_ROOT, *(_ROOT / room for room in ("proto", "client", "server", "worker")))

# The harness may be killed too: no program outlives it. Survives exec; see kdaif_server/embedded/valkey.py.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Program:
    """A process that is started again whenever it ended, as systemd would."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    redis: Proxy
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    starts: int = 0
    ends: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), sys.executable, *self.command],
                env=self.environment,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def send(self, number: signal.Signals) -> bool:
        """Whether there was a process to signal."""
        pid = self.pid
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    def children(self) -> list[psutil.Process]:
        """The training children of a worker."""
        pid = self.pid
        if pid is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(pid).children() if "--messages-fd" in _arguments(child)]
        return []


class World:
    """Everything that runs. ``keep`` starts again what ended; call it often, from the thread that made the world."""

    def __init__(self, plan: Plan, folder: Path, run_tag: str, network: Network) -> None:
        self._plan = plan
        self._draw = random.Random(f"restarts of {plan.seed}")
        self._network = network
        self.folder = folder
        self.run_tag = run_tag
        self.blob_disk = Disk(folder / "blobs-disk", plan.disk_mib)
        self.valkey_disk = Disk(folder / "valkey-disk", plan.disk_mib)
        self.valkey = EmbeddedValkey(self.valkey_disk.folder / "valkey", stop_timeout_s=5.0)
        self.valkey_starts = 0
        self._valkey_start_at = 0.0
        self.servers: list[Program] = []
        self.workers: list[Program] = []
        self.client_proxies: list[Proxy] = []
        self.keeping = threading.Lock()

    def start(self) -> None:
        self._start_valkey()
        ports = [_free_port() for _ in range(self._plan.servers)]
        self.servers = [self._server(f"server-{number}", port) for number, port in enumerate(ports)]
        # One for each submitter, one for the uploader, one for the watcher.
        self.client_proxies = [
            self._network.proxy(ports[number % len(ports)]) for number in range(self._plan.submitters + 2)
        ]
        for number in range(self._plan.workers):
            self.workers.append(self._worker(f"worker-{number}", clock_is_off=number == 0))
        for program in self.programs:
            program.start()

    @property
    def programs(self) -> list[Program]:
        return [*self.servers, *self.workers]

    @property
    def valkey_pid(self) -> int | None:
        """Of the running process."""
        with contextlib.suppress(KdaifError):  # stopped between the two looks
            return self.valkey.pid if self.valkey.is_alive() else None
        return None

    @property
    def blobs(self) -> BlobStore:
        return BlobStore.open(self.blob_url)

    @property
    def blob_url(self) -> str:
        return f"file://{self.blob_disk.folder / 'data' / 'blobs'}"

    @contextlib.contextmanager
    def redis(self) -> Iterator[Redis]:
        """A connection of our own, past the proxies."""
        with Redis.from_url(f"unix://{self._socket}", decode_responses=True, socket_timeout=10) as redis:
            yield redis

    def keep(self) -> None:
        """Starts what ended, a moment after it did."""
        with self.keeping:
            self._keep_valkey()
            for program in self.programs:
                self._keep_program(program)

    def stop(self) -> None:
        """Ends everything that was started, by its id: asked first, killed after some seconds."""
        for program in self.programs:
            program.send(signal.SIGCONT)
            program.send(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for program in self.programs:
            if program.process is not None:
                try:
                    program.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    program.ends.append("did not end when asked")
                    program.process.kill()
                    program.process.wait()
        self.valkey.stop()

    def keep_logs(self, folder: Path) -> None:
        """Copies them, to be read after the run."""
        folder.mkdir(parents=True, exist_ok=True)
        for log in [*(program.log for program in self.programs), self.valkey.log_file]:
            if log.exists():
                shutil.copy(log, folder / log.name)

    def close(self) -> None:
        self.blob_disk.close()
        self.valkey_disk.close()

    def shards_taken(self) -> int:
        """How often a worker has taken a shard of another one's job, as their logs tell."""
        return sum(len(_TAKEN.findall(worker.log.read_bytes())) for worker in self.workers)

    def rebuild_index(self, redis_url: str) -> str:
        """Runs ``kdaif-server rebuild-index`` into another Redis; what it complained of."""
        environment = self.servers[0].environment | {"KDAIF_REDIS_URL": redis_url}
        command = [sys.executable, "-m", "kdaif_server", "rebuild-index"]
        done = subprocess.run(
            command, env=environment, cwd=_ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        return f"{done.stdout}{done.stderr}" if done.returncode else ""

    def left_processes(self) -> list[str]:
        """Processes of this run that are still there, known by a variable that all of them inherited."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                tagged = process.environ().get(RUN_TAG) == self.run_tag
                if tagged and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid}: {' '.join(process.cmdline())}")
        return found

    @property
    def _socket(self) -> Path:
        return self.valkey_disk.folder / "valkey" / "valkey.sock"

    def _start_valkey(self) -> None:
        self.valkey.start()
        self.valkey_starts += 1

    def _keep_valkey(self) -> None:
        now = time.monotonic()
        if self.valkey.is_alive():
            return
        if not self._valkey_start_at:
            self._valkey_start_at = now + self._draw.uniform(0.0, 1.0)
        elif now >= self._valkey_start_at:
            self.valkey.stop()
            with contextlib.suppress(KdaifError, OSError):  # its disk may still be full; the next turn tries again
                self._start_valkey()
            self._valkey_start_at = 0.0

    def _keep_program(self, program: Program) -> None:
        now = time.monotonic()
        if program.process is None or program.process.poll() is None:
            return
        if not program.start_at:
            program.ends.append(str(program.process.returncode))
            program.start_at = now + self._draw.uniform(0.1, 0.6)
        elif now >= program.start_at:
            program.start_at = 0.0
            program.start()

    def _server(self, name: str, port: int) -> Program:
        command = ["-m", "kdaif_server", "serve", "--authentication", "off", "--port", str(port)]
        return self._program(name, command, {"KDAIF_DRAIN_S": "2"})

    def _worker(self, name: str, *, clock_is_off: bool) -> Program:
        more = {"KDAIF_WORKER_NAME": name, "KDAIF_CHILD_MODULE": "tests.chaos.stand_in", "KDAIF_THREADS": "1"}
        if clock_is_off:
            more["PYTHONPATH"] = _joined(Path(__file__).parent / "wrong_clock", *_PATHS)
        return self._program(name, ["-m", "kdaif_worker"], more)

    def _program(self, name: str, command: list[str], more: dict[str, str]) -> Program:
        redis = self._network.proxy(self._socket)
        environment = os.environ | {
            RUN_TAG: self.run_tag,
            "PYTHONPATH": _joined(*_PATHS),
            "OMP_NUM_THREADS": "1",
            "KDAIF_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "KDAIF_DATA_DIR": str(self.blob_disk.folder / "data"),
            "KDAIF_LEASE_TTL_S": str(self._plan.lease_s),
            # In the same proportion to the lease as by default.
            "KDAIF_RETRY_DELAY_S": str(self._plan.lease_s / 30),
            "KDAIF_CRASH_PAUSE_S": str(self._plan.lease_s / 12),
            "KDAIF_DISK_RESERVE_BYTES": str(1 << 20),
            "KDAIF_CHILD_ENV": RUN_TAG,
            **more,
        }
        return Program(name, command, environment, self.folder / f"{name}.log", redis)


def _joined(*paths: Path) -> str:
    return os.pathsep.join(str(path) for path in paths)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
