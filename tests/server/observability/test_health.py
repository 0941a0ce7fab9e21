"""What the server says of its health: Redis away, and a queue that nobody works on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.observability import QUEUE_HEALTH
from kdaif_server.observability.health_check import healthy
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings

from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, PreflightReport, Scheduling, WorkerOffer

SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, scheduling=Scheduling(gpus=1))
SERVICES = ("", "kdaif.v1.DistillationJobService", "kdaif.v1.StudentService")


@contextlib.asynccontextmanager
async def served(url: str, folder: Path) -> AsyncIterator[Any]:
    """Asks for the status of a service."""
    settings = ServerSettings(
        port=0, redis_url=url, data_dir=folder, look_every_s=0.05, unserved_after_s=0.2, lease_ttl_s=2.0, drain_s=0.5
    )
    async with running_server(settings) as server, aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> str:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        yield status, server.port


async def until(status: Any, service: str, wanted: str, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while await status(service) != wanted:  # noqa: ASYNC110 - it is another process that we wait for
            await asyncio.sleep(0.02)


def test_a_queue_that_no_worker_may_serve_is_not_serving_and_the_server_is(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=30.0)
        async with served(valkey_url, tmp_path) as (status, _):
            assert await status(QUEUE_HEALTH) == "SERVING"
            await queue.announce(WorkerOffer("cpu"))  # is there, and has no GPU
            await queue.submit("acme", SPEC, PreflightReport(), request_id="")
            await until(status, QUEUE_HEALTH, "NOT_SERVING")
            assert [await status(service) for service in SERVICES] == ["SERVING"] * 3
            await queue.announce(WorkerOffer("gpu", gpus=1))
            await until(status, QUEUE_HEALTH, "SERVING")
            await queue.pause_worker("gpu")
            await until(status, QUEUE_HEALTH, "NOT_SERVING")
            await queue.unpause_worker("gpu")
            await queue.claim(WorkerOffer("gpu", gpus=1))
            await until(status, QUEUE_HEALTH, "SERVING")
        await queue.close()

    asyncio.run(scenario())


@pytest.mark.timeout(90)
def test_without_redis_nothing_serves_and_with_it_all_serves_again(tmp_path: Path) -> None:
    async def scenario(valkey: EmbeddedValkey) -> None:
        async with served(valkey.url, tmp_path / "server") as (status, _):
            assert [await status(service) for service in (*SERVICES, QUEUE_HEALTH)] == ["SERVING"] * 4
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                for service in (*SERVICES, QUEUE_HEALTH):
                    await until(status, service, "NOT_SERVING", within_s=40)
            finally:
                os.kill(valkey.pid, signal.SIGCONT)
            for service in (*SERVICES, QUEUE_HEALTH):
                await until(status, service, "SERVING")

    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        asyncio.run(scenario(valkey))


def test_the_probe_of_a_container_says_what_it_found(
    valkey_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> int:
        async with served(valkey_url, tmp_path) as (_, port):
            asked = ServerSettings(host="0.0.0.0", port=port)  # noqa: S104 - as in a container
            return await asyncio.to_thread(healthy, asked, QUEUE_HEALTH)

    assert asyncio.run(scenario()) == 0
    assert healthy(ServerSettings(port=1), "") == 1
    assert capsys.readouterr().out == "SERVING\nno answer: UNAVAILABLE\n"
