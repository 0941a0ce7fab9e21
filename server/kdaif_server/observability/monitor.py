"""Looks at the queue every few seconds: for the metrics, and for what the server says of its health."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2

from kdaif.errors import UnavailableError
from kdaif.queue import JobQueue, Measurements
from kdaif.records import WorkerMode
from kdaif.telemetry import disk_free_bytes
from kdaif_server.observability.metrics import ServerMetrics

QUEUE_HEALTH = "kdaif.queue"
"""The name under which gRPC's health service says whether somebody works on the queue."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_log = structlog.get_logger("kdaif.server")


class Monitor:
    """One call of `look` is one round.

    The server as a whole, and each of its services, is NOT_SERVING while Redis does not answer: calls would fail.
    ``kdaif.queue`` is also NOT_SERVING while a job that could start has waited for ``unserved_after_s`` and no worker
    that is there may run it. The server itself serves on then: taking it away would only add to the outage.

    Args:
        queue: for its workers.
        measurements: of the same queue.
        metrics: to keep.
        health: to keep.
        services: that depend on Redis.
        places: folders whose disks are watched, by name.
        unserved_after_s: see above.
    """

    def __init__(
        self,
        queue: JobQueue,
        measurements: Measurements,
        metrics: ServerMetrics,
        health: grpc_health.aio.HealthServicer,
        *,
        services: tuple[str, ...],
        places: Mapping[str, Path],
        unserved_after_s: float,
    ) -> None:
        self._queue = queue
        self._measurements = measurements
        self._metrics = metrics
        self._health = health
        self._services = services
        self._places = places
        self._unserved_after_s = unserved_after_s
        self._said: tuple[bool, bool] = (True, True)

    async def look(self) -> None:
        """Never raises UnavailableError: that Redis is away is a finding."""
        for place, folder in self._places.items():
            self._metrics.disk_free_bytes.labels(place).set(disk_free_bytes(folder))
        try:
            measured = await self._measurements.look()
            workers = await self._queue.workers()
        except UnavailableError:
            self._metrics.redis_is_away()
            await self._say(redis=False, consumed=False)
            return
        offers = [worker.offer for worker in workers if worker.is_present and worker.mode is WorkerMode.ACTIVE]
        unserved_s = max((tenant.unserved_s(offers) for tenant in measured.tenants), default=0.0)
        self._metrics.show(measured, workers, unserved_s)
        await self._say(redis=True, consumed=unserved_s <= self._unserved_after_s)

    async def _say(self, *, redis: bool, consumed: bool) -> None:
        for service in ("", *self._services):
            await self._health.set(service, _SERVING if redis else _NOT_SERVING)
        await self._health.set(QUEUE_HEALTH, _SERVING if consumed else _NOT_SERVING)
        before, self._said = self._said, (redis, consumed)
        if before[0] != redis:
            (_log.info if redis else _log.error)(
                "redis answers again" if redis else "NOT SERVING: redis does not answer"
            )
        elif before[1] != consumed:
            if consumed:
                _log.info("the queue is worked on again")
            else:
                why = "jobs wait, and no worker that is there may run them: start one, or resume a paused one"
                _log.error("THE QUEUE IS NOT CONSUMED", why=why)
