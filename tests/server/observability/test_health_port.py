"""Probes behind TLS: a port of their own says what the server would, and ``kdaif-server health`` asks there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kdaif_client import Client
from kdaif_server.access.keys import KeyFile
from kdaif_server.access.scopes import Scope
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.observability import QUEUE_HEALTH
from kdaif_server.observability.health_check import healthy
from kdaif_server.server import RunningServer, running_server
from kdaif_server.settings import ServerSettings

from kdaif.errors import InvalidInputError, UnavailableError
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, PreflightReport
from tests.server.access.certificates import Authority

SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32)


class Probed:
    """A server, and what a container's health check finds there."""

    def __init__(self, settings: ServerSettings, server: RunningServer) -> None:
        assert server.health_port is not None
        self.settings = settings.model_copy(update={"port": server.port, "health": f":{server.health_port}"})
        self.target = f"127.0.0.1:{server.health_port}"

    async def is_ready(self, service: str = "") -> bool:
        return await asyncio.to_thread(healthy, self.settings, service) == 0

    async def until(self, *, ready: bool, service: str = "") -> None:
        async with asyncio.timeout(30):
            while await self.is_ready(service) is not ready:  # noqa: ASYNC110 - it is another process that we wait for
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def probed(redis_url: str, folder: Path, **more: Any) -> AsyncIterator[Probed]:
    settings = ServerSettings(
        port=0,
        health="127.0.0.1:0",
        redis_url=redis_url,
        data_dir=folder / "server",
        look_every_s=0.05,
        unserved_after_s=0.2,
        drain_s=10.0,
        **more,
    )
    async with running_server(settings) as server:
        yield Probed(settings, server)


@pytest.mark.parametrize("is_mutual", [False, True], ids=["tls", "mutual tls"])
def test_behind_tls_a_server_is_ready_while_its_queue_answers(
    tmp_path: Path, is_mutual: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    own, clients = authority.pair("server"), authority.pair("client")
    access: dict[str, Any] = {
        "tls_cert_file": own.certificate,
        "tls_key_file": own.key,
        "authentication": "on",
        "tls_client_ca_file": authority.file if is_mutual else None,
    }

    async def scenario(valkey: EmbeddedValkey) -> None:
        async with probed(valkey.url, tmp_path, **access) as found:
            _, key = KeyFile(found.settings.key_file).create("acme", frozenset({Scope.ADMIN}))
            assert await asyncio.to_thread(jobs, found.settings, key) == 0
            assert await found.is_ready()
            assert await found.is_ready(QUEUE_HEALTH)
            await asyncio.to_thread(valkey.stop)
            await found.until(ready=False)
            assert not await found.is_ready(QUEUE_HEALTH)
            await asyncio.to_thread(valkey.start)
            await found.until(ready=True)
            queue = await JobQueue.connect(valkey.url)
            await queue.submit("acme", SPEC, PreflightReport(), request_id="")  # and nobody works on it
            await queue.close()
            await found.until(ready=False, service=QUEUE_HEALTH)
            assert await found.is_ready()
        assert not await found.is_ready()  # it is gone

    def jobs(settings: ServerSettings, key: str) -> int:
        mine = {"client_certificate": clients.certificate, "client_key": clients.key} if is_mutual else {}
        target, trusted = f"127.0.0.1:{settings.port}", authority.file
        with Client(target, "acme", api_key=key, root_certificates=trusted, **mine) as client:
            return len(list(client.list_jobs()))

    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        asyncio.run(scenario(valkey))
    assert {"SERVING", "NOT_SERVING", "no answer: UNAVAILABLE"} <= set(capsys.readouterr().out.splitlines())


def test_nothing_but_health_is_answered_without_tls(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with probed(valkey_url, tmp_path) as found, aio.insecure_channel(found.target) as channel:
            asked = channel.unary_unary("/kdaif.v1.DistillationJobService/ListDistillationJobs")
            with pytest.raises(aio.AioRpcError) as refused:
                await asked(b"", timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_a_server_that_drains_is_not_ready(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            running = contextlib.AsyncExitStack()
            found = await running.enter_async_context(probed(valkey_url, tmp_path))
            channel = await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{found.settings.port}"))
            stub: Any = health_pb2_grpc.HealthStub(channel)
            held = stub.Watch(health_pb2.HealthCheckRequest())  # a call that the drain waits for
            serving, draining = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
            assert (await held.read()).status == serving
            ending = asyncio.create_task(running.aclose())
            assert (await held.read()).status == draining
            assert not await found.is_ready()
            assert not ending.done()
            held.cancel()
            await ending

    asyncio.run(scenario())


def test_a_server_with_tls_and_no_such_port_is_not_called_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServerSettings(tls_cert_file=tmp_path / "server.pem", tls_key_file=tmp_path / "server.key")
    assert healthy(settings, "") == 1
    assert "--health 127.0.0.1:50052" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_that_is_taken_is_named(valkey_url: str, tmp_path: Path, host: str) -> None:
    async def start(address: str) -> None:
        async with running_server(
            ServerSettings(port=0, health=address, redis_url=valkey_url, data_dir=tmp_path, drain_s=0.5)
        ):
            pass

    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"{host}:{other.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"health: cannot listen on {address}"):
            asyncio.run(start(address))
    with pytest.raises(InvalidInputError, match=r"health: .*HOST:PORT"):
        asyncio.run(start("50052"))
