"""A connection that was reset is an outage under every event loop, and one that is over at once is not noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import uvloop
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from kdaif.errors import UnavailableError
from kdaif.queue import JobQueue
from kdaif.queue.connection import open_redis
from kdaif.queue.cut_connections import told_as_errors
from kdaif.records import DistillationSpec, JobState, PreflightReport, WorkerOffer
from tests.chaos.proxy import Network, Proxy

SPEC = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[..., Any]


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[Proxy]:
    """Before the Valkey, by TCP: a reset of a Unix socket is told in another way."""
    with Network() as network:
        parts = urlsplit(valkey_url)
        yield network.proxy(parts.port or Path(unquote(parts.path)))


@LOOPS
def test_reset_connections_are_not_noticed(proxy: Proxy, run: Run) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(f"redis://127.0.0.1:{proxy.port}/0")
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            for number in range(5):
                many = await asyncio.gather(*(queue.get("t", job_id) for _ in range(5)))
                assert {job.id for job in many} == {job_id}
                await asyncio.gather(*(queue.claim(WorkerOffer(f"w{n}")) for n in range(5)))
                await asyncio.to_thread(proxy.drop, 0.0)
                changed = queue.cancel if number % 2 else queue.get
                assert (await changed("t", job_id)).id == job_id
            assert (await queue.get("t", job_id)).state in (JobState.CANCELLED, JobState.CANCELLING)
        finally:
            await queue.close()

    run(main())


@LOOPS
def test_an_outage_is_unavailable(proxy: Proxy, run: Run) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(f"redis://127.0.0.1:{proxy.port}/0")
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            await asyncio.gather(*(queue.get("t", job_id) for _ in range(5)))
            outage = asyncio.create_task(asyncio.to_thread(proxy.drop, 1.0))
            refused = 0
            while not outage.done():
                try:
                    await queue.get("t", job_id)
                    await queue.claim(WorkerOffer("w"))
                except UnavailableError:
                    refused += 1
                await asyncio.sleep(0.01)
            assert refused > 0
            assert (await queue.get("t", job_id)).id == job_id
        finally:
            await queue.close()

    run(main())


@LOOPS
def test_readers_on_a_connection_that_is_cut_as_they_ask_get_their_answer(proxy: Proxy, run: Run) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(f"redis://127.0.0.1:{proxy.port}/0")
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            await queue.get("t", job_id)
            for _ in range(3):
                kept: Any = queue._reads._kept
                readers = [asyncio.create_task(queue.get("t", job_id)) for _ in range(20)]
                await asyncio.sleep(0)  # the first has sent its question, and the others wait for it
                kept._connection._writer.transport.abort()
                assert {job.id for job in await asyncio.wait_for(asyncio.gather(*readers), 5)} == {job_id}
        finally:
            await queue.close()

    run(main())


def test_what_a_closed_transport_of_uvloop_raises_is_a_connection_error(proxy: Proxy) -> None:
    async def main() -> None:
        redis = open_redis(f"redis://127.0.0.1:{proxy.port}/0")
        try:
            connection = await redis.connection_pool.get_connection()
            connection._writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="closed"):
                connection._writer.writelines([b"PING\r\n"])
            with pytest.raises(RedisConnectionError, match="cut before"):
                await connection.send_packed_command([b"PING\r\n"])
            await redis.connection_pool.release(connection)
        finally:
            await redis.aclose()

    uvloop.run(main())


def test_every_node_of_a_cluster_tells_it_too() -> None:
    async def main() -> None:
        cluster: Any = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 1)])
        told_as_errors(cluster)
        discovered = ClusterNode("127.0.0.1", 2, **cluster.connection_kwargs)
        kinds = {node.connection_class for node in (*cluster.startup_nodes, discovered)}
        assert {kind.__name__ for kind in kinds} == {"Telling"}
        await cluster.aclose()

    asyncio.run(main())
