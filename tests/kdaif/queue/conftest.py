"""The queue suite runs on the Valkey of the wheel and on the distribution's Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kdaif_server.embedded.valkey import EmbeddedValkey
from redis import Redis

from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, PreflightReport

T = TypeVar("T")


@pytest.fixture(scope="session", params=["valkey", "redis"])
def running_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary: Path | None = None
    if request.param == "redis":
        binary = request.getfixturevalue("redis_server_binary")
    with EmbeddedValkey(tmp_path_factory.mktemp(request.param), binary=binary) as server:
        yield server.url


@pytest.fixture
def url(running_server: str) -> str:
    """URL of an empty server."""
    with Redis.from_url(running_server) as redis:
        redis.flushall()
    return running_server


@pytest.fixture
def raw(url: str) -> Iterator[Redis]:
    """A connection beside the queue, to look at what it keeps and to bring clocks forward."""
    with Redis.from_url(url, decode_responses=True) as redis:
        yield redis


@pytest.fixture
def play(url: str) -> Callable[..., Any]:
    """Runs ``scenario(queue)`` on an event loop of its own."""

    def run(scenario: Callable[[JobQueue], Awaitable[T]], **options: Any) -> T:
        async def main() -> T:
            queue = await JobQueue.connect(url, **({"retry_delay_s": 0.0} | options))
            try:
                return await scenario(queue)
            finally:
                await queue.close()

        return asyncio.run(main())

    return run


@pytest.fixture
def spec() -> DistillationSpec:
    return DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)


@pytest.fixture
def submit(spec: DistillationSpec) -> Callable[..., Any]:
    """Submits a job to a queue; keyword arguments change the spec."""

    async def send(queue: JobQueue, tenant: str = "acme", request_id: str = "", **changes: Any) -> Any:
        changed = spec.model_copy(update=changes)
        return await queue.submit(tenant, changed, PreflightReport(), request_id=request_id)

    return send


@pytest.fixture
def until() -> Callable[..., Any]:
    """Calls an async function until its answer is true, and returns that; fails after 10 s."""

    async def poll(ask: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + 10.0
        while not (answer := await ask()):
            assert time.monotonic() < deadline, "the condition did not come true within 10 s"
            await asyncio.sleep(0.01)
        return answer

    return poll
