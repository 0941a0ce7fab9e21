"""How many jobs a second the queue takes, beside what the same server does bare.

A job is submitted, claimed and finished: three durable writes, each by one of 16 clients that wait for every answer.
The bare rate is that of ``redis-benchmark`` with as many clients and durable writes of about the size of a job. Both
run against one Valkey that fsyncs before it answers, in the folder for temporary files.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kdaif_server.embedded.valkey import EmbeddedValkey
from redis import Redis

from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, JobResult, PreflightReport, WorkerOffer

_CLIENTS = 16
# Python needs more time for a call than Valkey does: one process could not keep it busy.
_PROCESSES = 4
_JOBS_PER_CLIENT = 100
_BARE_WRITES = 20_000
_BYTES = 1000
_TENANT = "bench"
_SPEC = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)


@dataclass(frozen=True)
class QueueRate:
    """Jobs and bare writes per second."""

    jobs_per_s: float
    bare_writes_per_s: dict[str, float]

    @property
    def ratio_to_bare(self) -> float:
        """Transitions of jobs, three for each, per bare write. 1 would be a queue that costs nothing."""
        return 3 * self.jobs_per_s / max(self.bare_writes_per_s.values())

    def __str__(self) -> str:
        bare = ", ".join(f"{command} {rate:,.0f}/s" for command, rate in self.bare_writes_per_s.items())
        return (
            f"queue at {_CLIENTS} clients: {self.jobs_per_s:,.0f} jobs/s (submit + claim + finish, "
            f"{3 * self.jobs_per_s:,.0f} durable writes/s)\n"
            f"bare redis-benchmark at {_CLIENTS} clients, fsync always: {bare}\n"
            f"queue_ratio_to_bare: {self.ratio_to_bare:.3f}"
        )


def measure() -> QueueRate:
    """Takes about 10 s. Raises SystemExit where ``redis-benchmark`` is missing."""
    benchmark = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if benchmark is None:
        sys.exit("redis-benchmark is not installed; 'apt-get install redis-tools' brings it")
    with tempfile.TemporaryDirectory(prefix="kdaif-bench-") as folder, _server(Path(folder)) as (url, socket):
        bare = {command: _bare(benchmark, socket, command) for command in ("SET", "RPUSH")}
        with Redis.from_url(url) as redis:
            redis.flushall()
        return QueueRate(_jobs_per_s(url), bare)


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


def _jobs_per_s(url: str) -> float:
    context = multiprocessing.get_context("spawn")
    clients = _CLIENTS // _PROCESSES
    ready = context.Barrier(_PROCESSES + 1)
    processes = [context.Process(target=_run_clients, args=(url, clients, ready)) for _ in range(_PROCESSES)]
    for process in processes:
        process.start()
    ready.wait(60)
    started = time.perf_counter()
    for process in processes:
        process.join(300)
        if process.exitcode != 0:
            raise RuntimeError(f"a client of the queue ended with exit code {process.exitcode}")
    seconds = time.perf_counter() - started
    return _CLIENTS * _JOBS_PER_CLIENT / seconds


def _run_clients(url: str, clients: int, ready: object) -> None:
    async def run() -> None:
        queues = [await JobQueue.connect(url) for _ in range(clients)]
        ready.wait(60)  # type: ignore[attr-defined]
        await asyncio.gather(*(_client(queue, f"client-{place}") for place, queue in enumerate(queues)))
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


def main() -> None:
    """Entry point."""
    print(measure())


if __name__ == "__main__":
    main()
