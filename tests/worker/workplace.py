"""A real queue and a real supervisor with a stand-in for its child, for tests of what happens between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from kdaif_worker.attempt import end_all
from kdaif_worker.crash_loop import CrashLoop
from kdaif_worker.settings import WorkerSettings
from kdaif_worker.supervisor import Supervisor

from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, Job, JobEvent, JobState, PreflightReport

T = TypeVar("T")

CHILD = "tests.worker.stand_in_child"
ROOT = Path(__file__).parents[2]
_SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)


def socket_path(url: str) -> str:
    return unquote(urlsplit(url).path)


@dataclass
class Workplace:
    """What a test sees and moves."""

    queue: JobQueue
    supervisor: Supervisor
    stopping: asyncio.Event
    running: asyncio.Task[None]

    async def submit(self, doing: str, **spec: Any) -> Job:
        return await submit(self.queue, doing, **spec)

    async def until(self, job: Job, *states: JobState, timeout_s: float = 15.0) -> Job:
        return await until(self.queue, job, *states, timeout_s=timeout_s)

    async def child_pid(self, job: Job) -> int:
        return await child_pid(self.queue, job)


async def submit(queue: JobQueue, doing: str, **spec: Any) -> Job:
    changed = _SPEC.model_copy(update=spec)
    return await queue.submit("acme", changed, PreflightReport(), request_id="", display_name=doing)


async def answered(ask: Callable[[], Awaitable[T]], timeout_s: float = 15.0) -> T:
    """The first true answer; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := await ask()):
        assert time.monotonic() < deadline, f"condition not met within {timeout_s} s"
        await asyncio.sleep(0.02)
    return answer


async def until(queue: JobQueue, job: Job, *states: JobState, timeout_s: float = 15.0) -> Job:
    async def reached() -> Job | None:
        now = await queue.get("acme", job.id)
        return now if now.state in states else None

    found = await answered(reached, timeout_s)
    assert found is not None
    return found


async def events(queue: JobQueue, job: Job, kind: str) -> list[JobEvent]:
    return [event for event in await queue.events("acme", job.id, after_sequence=0) if event.kind == kind]


async def child_pid(queue: JobQueue, job: Job) -> int:
    """Of the attempt that told of it last."""
    told = await answered(lambda: events(queue, job, "progress"))
    progress = told[-1].progress
    assert progress is not None
    return int(progress.message)


async def wait_until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    async def is_met() -> bool:
        return condition()

    await answered(is_met, timeout_s)


async def reaping(queue: JobQueue) -> None:
    """What servers do all the time."""
    while True:
        await queue.reap()
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def workplace(
    url: str,
    folder: Path,
    *,
    lease_ttl_s: float = 1.0,
    through: str = "",
    crash_loop: CrashLoop | None = None,
    gpus: int = 0,
    **settings: Any,
) -> AsyncIterator[Workplace]:
    """A supervisor in this process, which reaches the queue by ``through`` where that is given."""
    given: dict[str, Any] = {"worker_name": "w1", "data_dir": folder, "child_module": CHILD} | settings
    queue = await JobQueue.connect(url, lease_ttl_s=lease_ttl_s, retry_delay_s=0.0)
    its_own = await JobQueue.connect(through or url, lease_ttl_s=lease_ttl_s, retry_delay_s=0.0)
    supervisor = Supervisor(its_own, WorkerSettings(lease_ttl_s=lease_ttl_s, **given), gpus=gpus, crash_loop=crash_loop)
    stopping = asyncio.Event()
    running = asyncio.create_task(supervisor.run(stopping))
    reaper = asyncio.create_task(reaping(queue))
    try:
        yield Workplace(queue, supervisor, stopping, running)
    finally:
        stopping.set()
        await asyncio.wait_for(running, 20)
        await end_all({reaper})
        await queue.close()
        await its_own.close()


@contextlib.contextmanager
def worker_process(url: str, folder: Path, lease_ttl_s: float = 1.0) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A supervisor in a process of its own, to be stopped and killed. Yields it and its log."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "KDAIF_REDIS_URL": url,
        "KDAIF_DATA_DIR": str(folder),
        "KDAIF_LEASE_TTL_S": str(lease_ttl_s),
        "KDAIF_WORKER_NAME": "w1",
        "KDAIF_CHILD_MODULE": CHILD,
    }
    log = folder / "worker.log"
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "kdaif_worker"], env=environment, stdout=sink, stderr=sink)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()
