"""The clients of the load test, each kind in a process of its own, told by a pipe what to do next."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from kdaif_client import AsyncClient, DatasetState
from kdaif_client._async.rpc import AsyncRpc
from kdaif_client._credentials import Credentials
from kdaif_client.errors import KdaifClientError
from kdaif_proto.v1 import jobs_pb2 as pb

from kdaif.queue import Claim, JobQueue
from kdaif.records import Progress, WorkerOffer

_TIMEOUT_S = 30.0
_MOVING_JOBS = 20
_MOVE_EVERY_S = 0.5


@dataclass
class Calls:
    """What the unary callers saw."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Watches:
    """What the watchers saw. A watch that ended early, or missed or doubled an event, has failed."""

    watchers: int
    events: int
    failed: int


@dataclass(frozen=True)
class Uploads:
    """How the uploads went."""

    done: int
    failed_before_drain: int
    failed_in_drain: int


def credentials() -> Credentials:
    """As every client takes them from the environment."""
    return Credentials(api_key=os.environ["KDAIF_API_KEY"])


async def call_for(target: str, jobs: Sequence[str], callers: int, connections: int, seconds: float) -> Calls:
    """Calls from so many callers that each wait for the answer."""
    seen = Calls()
    ends_at = time.monotonic() + seconds
    async with _connected(target, connections) as rpcs:
        await _call_all(rpcs, jobs, seen, callers, lambda: time.monotonic() >= ends_at)
    seen.seconds = seconds
    return seen


@asynccontextmanager
async def _connected(target: str, connections: int) -> AsyncIterator[list[AsyncRpc]]:
    """So many clients, each with a connection of its own, which stays with one process of the server."""
    rpcs = [
        AsyncRpc(target, _TIMEOUT_S, shares_connection=False, credentials=credentials()) for _ in range(connections)
    ]
    try:
        yield rpcs
    finally:
        await asyncio.gather(*(rpc.close() for rpc in rpcs))


async def _call_all(
    rpcs: Sequence[AsyncRpc], jobs: Sequence[str], seen: Calls, callers: int, is_over: Callable[[], bool]
) -> None:
    await asyncio.gather(*(_call(rpcs[number % len(rpcs)], jobs, seen, is_over) for number in range(callers)))


def call_until_told(pipe: Connection, target: str, jobs: Sequence[str], callers: int, connections: int) -> None:
    """Calls all the time. Told "measure", "drain" and "end"; answers what it saw between two of them."""
    asyncio.run(_call_until_told(pipe, target, jobs, callers, connections))


async def _call_until_told(pipe: Connection, target: str, jobs: Sequence[str], callers: int, connections: int) -> None:
    async with _connected(target, connections) as rpcs:
        for answers in (False, True, True):
            seen, started = Calls(), time.monotonic()
            told = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
            await _call_all(rpcs, jobs, seen, callers, told.done)
            seen.seconds = time.monotonic() - started
            for failure in seen.failures[:5]:
                print(f"failed: {failure}")
            if answers:
                pipe.send(seen)


async def _call(rpc: AsyncRpc, jobs: Sequence[str], seen: Calls, is_over: Callable[[], bool]) -> None:
    number = 0
    while not is_over():
        number += 1
        request = pb.GetDistillationJobRequest(name=jobs[number % len(jobs)])
        started = time.perf_counter()
        try:
            await rpc.call(rpc.jobs.GetDistillationJob, request)
        except KdaifClientError as error:
            seen.failed += 1
            seen.failures.append(repr(error))
        seen.calls += 1
        seen.latencies_ms.append((time.perf_counter() - started) * 1000)


def watch(pipe: Connection, target: str, jobs: Sequence[str], redis_url: str) -> None:
    """Watches each job from a client of its own, while some of them move, until told to cancel them all."""
    asyncio.run(_watch(pipe, target, jobs, redis_url))


async def _watch(pipe: Connection, target: str, jobs: Sequence[str], redis_url: str) -> None:
    seen: dict[str, list[int]] = {name: [] for name in jobs}
    all_see = asyncio.Event()

    async def follow(number: int, name: str) -> bool:
        async with AsyncClient(target) as client:
            # Channels of the same options share a connection; these are to have one each.
            client._rpc = AsyncRpc(target, _TIMEOUT_S, keepalive_ms=30_000 + number, credentials=credentials())
            job = await client.get_job(name)
            async for event in job.watch():
                seen[name].append(event.sequence)
                if all(seen.values()):
                    all_see.set()
            await client._rpc.close()
        return seen[name] == list(range(1, len(seen[name]) + 1))

    watches = [asyncio.create_task(follow(number, name)) for number, name in enumerate(jobs)]
    queue = await JobQueue.connect(redis_url)
    claims = [claim for _ in range(_MOVING_JOBS) if (claim := await queue.claim(WorkerOffer("load"))) is not None]
    moving = asyncio.create_task(_move(queue, claims))
    await all_see.wait()
    pipe.send("watching")
    await asyncio.to_thread(pipe.recv)
    moving.cancel()
    for name in jobs:
        await queue.cancel(name.split("/")[1], name.split("/")[3])
    for claim in claims:
        await queue.give_back(claim, "the load test is over")
    results = await asyncio.gather(*watches, return_exceptions=True)
    await queue.close()
    for result in results:
        if result is not True:
            print(f"a watch failed: {result!r}")
    pipe.send(Watches(len(jobs), sum(map(len, seen.values())), sum(result is not True for result in results)))


async def _move(queue: JobQueue, claims: Sequence[Claim]) -> None:
    """A round's event for each claimed job, again and again, and its lease renewed."""
    number = 0
    while True:
        number += 1
        for claim in claims:
            await queue.renew(claim)
            await queue.publish(claim, "round", Progress("distil", fraction=0.5, round=number), {"train_loss": 0.1})
        await asyncio.sleep(_MOVE_EVERY_S)


def upload(pipe: Connection, target: str, files: Sequence[Path], seconds: float, in_drain: int) -> None:
    """Uploads the files, spread over the time, the last ones when told that the server goes down."""
    asyncio.run(_upload(pipe, target, files, seconds, in_drain))


async def _upload(pipe: Connection, target: str, files: Sequence[Path], seconds: float, in_drain: int) -> None:
    async with AsyncClient(target) as client:
        before, late = files[:-in_drain], files[-in_drain:]
        told = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
        results = []
        for file in before:
            results.append(await _uploaded(client, file))
            await asyncio.wait({told}, timeout=seconds / len(files))
        await told
        at_the_end = await asyncio.gather(*(_uploaded(client, file) for file in late))
    done = sum(results) + sum(at_the_end)
    pipe.send(Uploads(done, results.count(False), at_the_end.count(False)))


async def _uploaded(client: AsyncClient, file: Path) -> bool:
    try:
        dataset = await client.upload_dataset(file, name=file.stem)
    except KdaifClientError as error:
        print(f"an upload failed: {error!r}")
        return False
    return dataset.state is DatasetState.READY
