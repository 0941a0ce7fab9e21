"""How many jobs a second the queue takes, beside what the same server does bare.

A job is submitted, claimed and finished: three durable writes, each by one of 16 clients that wait for every answer.
Three bare rates stand beside it: ``redis-benchmark``, a C program, says what the server can do; plain writes by as many
clients of redis-py, the library that one would take, say what is left of that in Python; and the same writes on
connections that are kept, as the queue keeps them, say what its scripts and records cost beside nothing else. All write
values of about the size of a job to one Valkey that fsyncs before it answers, in the folder for temporary files. ``make
bench-queue`` writes ``queue.json``.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from kdaif_server.embedded.valkey import EmbeddedValkey
from redis import Redis

from benchmarks.record import write_results
from kdaif.queue import JobQueue
from kdaif.queue.connection import close, open_redis
from kdaif.queue.kept_connection import KeptConnection
from kdaif.records import DistillationSpec, JobResult, PreflightReport, WorkerOffer

_CLIENTS = 16
# Python needs more time for a call than Valkey does: one process could not keep it busy.
_PROCESSES = 4
_JOBS_PER_CLIENT = 50
# Queue and bare clients take turns, so that a machine with other work is as fast for both.
_TURNS = 3
_WRITES_PER_JOB = 3
_BARE_WRITES = 20_000
_BYTES = 1000
_TENANT = "bench"
_SPEC = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)


@dataclass(frozen=True)
class Rate:
    """Jobs per second of the clock, and what one job costs of processors, in milliseconds."""

    jobs_per_s: float
    client_cpu_ms: float
    server_cpu_ms: float

    def __str__(self) -> str:
        return (
            f"{self.jobs_per_s:,.0f} jobs/s, {_WRITES_PER_JOB * self.jobs_per_s:,.0f} durable writes/s, CPU a job: "
            f"{self.client_cpu_ms:.2f} ms in the clients, {self.server_cpu_ms:.2f} ms in the server"
        )


@dataclass(frozen=True)
class QueueRate:
    """The queue, and the bare server by redis-py, by kept connections, and by ``redis-benchmark`` (by command)."""

    queue: Rate
    python: Rate
    kept: Rate
    bare_writes_per_s: dict[str, float]

    @property
    def jobs_per_s(self) -> float:
        """Submitted, claimed and finished."""
        return self.queue.jobs_per_s

    @property
    def ratio_to_bare(self) -> float:
        """Transitions of jobs, three for each, per bare write. 1 would be a queue that costs nothing."""
        return _WRITES_PER_JOB * self.queue.jobs_per_s / max(self.bare_writes_per_s.values())

    @property
    def ratio_to_python(self) -> float:
        """Jobs per three bare writes of clients in Python."""
        return self.queue.jobs_per_s / self.python.jobs_per_s

    @property
    def figures(self) -> dict[str, float]:
        """Of ``queue.json``. ``queue_ratio`` is to the writes of clients in Python, as the queue's own are."""
        return {
            "queue_ratio": self.ratio_to_python,
            "queue_ratio_to_kept": self.ratio_to_kept,
            "queue_ratio_to_redis_benchmark": self.ratio_to_bare,
            "jobs_per_s": self.queue.jobs_per_s,
            "bare_jobs_per_s": self.python.jobs_per_s,
        }

    @property
    def ratio_to_kept(self) -> float:
        """Jobs per three bare writes on connections that are kept."""
        return self.queue.jobs_per_s / self.kept.jobs_per_s

    def __str__(self) -> str:
        bare = ", ".join(f"{command} {rate:,.0f}/s" for command, rate in self.bare_writes_per_s.items())
        return (
            f"queue at {_CLIENTS} clients (submit + claim + finish): {self.queue}\n"
            f"bare writes by {_CLIENTS} clients of the same library, {_WRITES_PER_JOB} a job: {self.python}\n"
            f"the same on connections that are kept: {self.kept}\n"
            f"bare redis-benchmark at {_CLIENTS} clients, fsync always: {bare}\n"
            f"queue_ratio_to_bare_python: {self.ratio_to_python:.3f}\n"
            f"queue_ratio_to_kept: {self.ratio_to_kept:.3f}\n"
            f"queue_ratio_to_bare: {self.ratio_to_bare:.3f}"
        )


def measure() -> QueueRate:
    """Takes about half a minute. Raises SystemExit where ``redis-benchmark`` is missing."""
    benchmark = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if benchmark is None:
        sys.exit("redis-benchmark is not installed; 'apt-get install redis-tools' brings it")
    with tempfile.TemporaryDirectory(prefix="kdaif-bench-") as folder, _server(Path(folder)) as (url, socket):
        bare = {command: _bare(benchmark, socket, command) for command in ("SET", "RPUSH")}
        python, kept, queue = [], [], []
        for _ in range(_TURNS):
            python.append(_rate(url, _write_bare))
            kept.append(_rate(url, _write_kept))
            queue.append(_rate(url, _run_jobs))
        return QueueRate(_middle(queue), _middle(python), _middle(kept), bare)


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, Path]]:
    with EmbeddedValkey(folder / "valkey") as valkey:
        yield valkey.url, folder / "valkey" / "valkey.sock"


def _bare(benchmark: str, socket: Path, command: str) -> float:
    options = ["-s", str(socket), "-c", str(_CLIENTS), "-n", str(_BARE_WRITES), "-d", str(_BYTES), "-r", "100000"]
    done = subprocess.run(
        [benchmark, *options, "-t", command.lower(), "--csv"], capture_output=True, text=True, check=True
    )
    row = next(line for line in done.stdout.splitlines() if line.startswith(f'"{command}'))
    return float(row.split(",")[1].strip('"'))


def _middle(rates: list[Rate]) -> Rate:
    return sorted(rates, key=lambda rate: rate.jobs_per_s)[len(rates) // 2]


def _rate(url: str, run: Callable[[str, int, Any, Any], None]) -> Rate:
    """Of one run of all clients against an empty server."""
    with Redis.from_url(url, decode_responses=True) as redis:
        redis.flushall()
        context = multiprocessing.get_context("spawn")
        ready, seconds = context.Barrier(_PROCESSES + 1), context.Queue()
        clients = _CLIENTS // _PROCESSES
        processes = [context.Process(target=run, args=(url, clients, ready, seconds)) for _ in range(_PROCESSES)]
        for process in processes:
            process.start()
        ready.wait(120)
        server_s, started = _server_cpu_s(redis), time.perf_counter()
        client_s = sum(seconds.get(timeout=300) for _ in processes)
        elapsed_s, server_s = time.perf_counter() - started, _server_cpu_s(redis) - server_s
        for process in processes:
            process.join(60)
            if process.exitcode != 0:
                raise RuntimeError(f"a client ended with exit code {process.exitcode}")
    jobs = _CLIENTS * _JOBS_PER_CLIENT
    return Rate(jobs / elapsed_s, 1000 * client_s / jobs, 1000 * server_s / jobs)


def _server_cpu_s(redis: Redis) -> float:
    used: Any = redis.info("cpu")
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])


def _run_jobs(url: str, clients: int, ready: Any, seconds: Any) -> None:
    async def run() -> None:
        queues = [await JobQueue.connect(url) for _ in range(clients)]
        work = [partial(_client, queue, f"client-{place}") for place, queue in enumerate(queues)]
        await _timed(work, ready, seconds)
        for queue in queues:
            await queue.close()

    asyncio.run(run())


async def _client(queue: JobQueue, name: str) -> None:
    offer, finished = WorkerOffer(name), 0
    for _ in range(_JOBS_PER_CLIENT):
        await queue.submit(_TENANT, _SPEC, PreflightReport(), request_id="")
    while finished < _JOBS_PER_CLIENT:
        claim = await queue.claim(offer)
        if claim is not None:
            await queue.succeed(claim, JobResult(claim.token, (), "", 0.0))
            finished += 1


def _write_bare(url: str, clients: int, ready: Any, seconds: Any) -> None:
    async def write(redis: Any, name: str) -> None:
        value = "x" * _BYTES
        for place in range(_JOBS_PER_CLIENT * _WRITES_PER_JOB):
            await redis.set(f"{name}:{place}", value)

    _write(url, clients, ready, seconds, write)


def _write_kept(url: str, clients: int, ready: Any, seconds: Any) -> None:
    async def write(redis: Any, name: str) -> None:
        value, kept = "x" * _BYTES, KeptConnection(redis.connection_pool)
        for place in range(_JOBS_PER_CLIENT * _WRITES_PER_JOB):
            await kept.ask("SET", f"{name}:{place}", value)

    _write(url, clients, ready, seconds, write)


def _write(
    url: str, clients: int, ready: Any, seconds: Any, write: Callable[[Any, str], Coroutine[Any, Any, None]]
) -> None:
    async def run() -> None:
        connections = [open_redis(url) for _ in range(clients)]
        for redis in connections:
            await redis.ping()
        work = [partial(write, redis, f"{id(redis)}") for redis in connections]
        await _timed(work, ready, seconds)
        for redis in connections:
            await close(redis)

    asyncio.run(run())


async def _timed(work: Sequence[Callable[[], Awaitable[None]]], ready: Any, seconds: Any) -> None:
    """Starts with all other processes, and tells the processor time it took."""
    ready.wait(120)
    before = _cpu_s()
    await asyncio.gather(*(each() for each in work))
    seconds.put(_cpu_s() - before)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Entry point."""
    started_at = datetime.now(UTC)
    rate = measure()
    table = [{"who": who, **asdict(of)} for who, of in (("queue", rate.queue), ("bare writes", rate.python))]
    print(f"{rate}\nWritten: {write_results('queue', rate.figures, table, started_at)}")


if __name__ == "__main__":
    main()
