"""How the queue and its server stand, for metrics and alarms. Reads only, over connections of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.cluster import RedisCluster

from kdaif.queue import connection, keys
from kdaif.queue.scripts import Scripts
from kdaif.queue.shards import LABEL as SHARDS_LABEL
from kdaif.queue.tenants import Tenants
from kdaif.records import Scheduling, WorkerOffer


@dataclass(frozen=True)
class Line:
    """Jobs of one tenant that may start and need the same: how many, and how long the oldest has waited."""

    needs: Scheduling
    jobs: int
    oldest_s: float


@dataclass(frozen=True)
class TenantQueue:
    """One tenant's jobs that are not over. ``delayed`` ones wait for their retry, all others of ``lines`` may start."""

    tenant: str
    queued: int
    delayed: int
    running: int
    lines: tuple[Line, ...] = ()

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest job which may start has waited; 0 where there is none."""
        return max((line.oldest_s for line in self.lines), default=0.0)

    def unserved_s(self, workers: list[WorkerOffer]) -> float:
        """The same of jobs that none of these workers may run."""
        lines = (line for line in self.lines if not any(worker.suits(line.needs) for worker in workers))
        return max((line.oldest_s for line in lines), default=0.0)


@dataclass(frozen=True)
class Redis:
    """What the server says of itself. ``aof_is_healthy``: its last write and its last rewrite of the file went well."""

    aof_is_enabled: bool
    aof_is_healthy: bool
    used_memory_bytes: int
    max_memory_bytes: int


@dataclass(frozen=True)
class Measured:
    """One look."""

    redis: Redis
    tenants: tuple[TenantQueue, ...] = field(default=())


class Measurements:
    """Looks at the queue. Belongs to the event loop in which it was made.

    Args:
        url: of the server, as for `JobQueue.connect`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = connection.open_redis(url)
        self._scripts = Scripts(self._redis)
        self._tenants = Tenants(self._redis, self._scripts)

    async def close(self) -> None:
        """Closes every connection."""
        await connection.close(self._redis)

    async def look(self) -> Measured:
        """Costs two round trips per busy tenant. Raises UnavailableError."""
        with connection.translated(self._url, "measure the queue"):
            redis = await self._server()
            tenants = [await self._of(tenant) for tenant in await self._tenants.busy()]
        return Measured(redis, tuple(tenants))

    async def _of(self, tenant: str) -> TenantQueue:
        found: Any = await self._scripts.measure(
            [keys.line(tenant), keys.delayed(tenant), keys.needs(tenant), keys.leases(tenant)]
        )
        now_ms, queued, delayed, running, *lines = found
        async with self._redis.pipeline(transaction=False) as pipeline:
            for _, _, *ids in lines:
                for job_id in ids:
                    pipeline.xrevrange(keys.events(tenant, job_id), count=1)
            entries = iter(await pipeline.execute())
        measured = []
        for needs, jobs, *ids in lines:
            # The last event of a job in line is the one that put it there; a job that is gone by now has none.
            since_ms = [int(fields["time_ms"]) for _ in ids for _, fields in next(entries)]
            measured.append(Line(_needs(needs), jobs, max(0.0, (now_ms - min(since_ms, default=now_ms)) / 1000)))
        return TenantQueue(tenant, queued, delayed, running, tuple(measured))

    async def _server(self) -> Redis:
        servers: list[dict[str, Any]] = []
        if isinstance(self._redis, RedisCluster):
            await self._redis.initialize()
            servers = [await _info(self._redis, target_nodes=node) for node in self._redis.get_primaries()]
        else:
            servers = [await _info(self._redis)]
        return Redis(
            aof_is_enabled=all(int(each.get("aof_enabled", 0)) for each in servers),
            aof_is_healthy=all(
                each.get("aof_last_write_status", "ok") == "ok" and each.get("aof_last_bgrewrite_status", "ok") == "ok"
                for each in servers
            ),
            used_memory_bytes=sum(int(each.get("used_memory", 0)) for each in servers),
            max_memory_bytes=sum(int(each.get("maxmemory", 0)) for each in servers),
        )


async def _info(redis: Any, **of_node: Any) -> dict[str, Any]:
    persistence: dict[str, Any] = await redis.info("persistence", **of_node)
    memory: dict[str, Any] = await redis.info("memory", **of_node)
    return persistence | memory


def _needs(needs: str) -> Scheduling:
    """Of shards what they need beside a worker that knows of them: the job itself scores them in the end."""
    gpus, _, labels = needs.partition(";")
    named = tuple(label for label in labels.split(",") if label and not label.startswith(SHARDS_LABEL))
    return Scheduling(gpus=int(gpus), worker_labels=named)
