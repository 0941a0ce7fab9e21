"""Reading the events of a job: those that are there, and those to come."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from redis.asyncio import Redis

from kdaif.errors import NotFoundError
from kdaif.queue import codec, connection, keys
from kdaif.records import JobEvent

MAX_WAITERS = 256
"""Connections for waiting, each held for at most ``_BLOCK_S`` at a time; further waiters take turns."""

# Below the socket timeout, or every quiet wait would look like a dead connection.
_BLOCK_S = 3.0
_PAGE = 1000


class EventLog:
    """Reads event streams. Blocking reads use connections of their own."""

    def __init__(self, url: str, redis: Redis) -> None:
        self._url = url
        self._redis = redis
        self._waiting_redis = connection.open_waiting_redis(url, MAX_WAITERS)
        self._free = asyncio.Semaphore(MAX_WAITERS)

    async def close(self) -> None:
        """Closes the waiting connections."""
        await connection.close(self._waiting_redis)

    async def read(self, tenant: str, job_id: str, after_sequence: int, limit: int) -> list[JobEvent]:
        """Events that are there. Raises NotFoundError."""
        with connection.translated(self._url, f"read the events of job {job_id}"):
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.exists(keys.job(tenant, job_id))
                pipeline.xrange(keys.events(tenant, job_id), f"{after_sequence + 1}-0", "+", count=limit)
                exists, entries = await pipeline.execute()
        if not exists:
            raise NotFoundError(f"tenant {tenant!r} has no job {job_id!r}; list the jobs to see which there are")
        return _decoded(entries)

    async def wait(
        self, tenant: str, job_id: str, after_sequence: int, timeout_s: float, *, is_there: bool = False
    ) -> list[JobEvent]:
        """Events that are there, else the first that come within ``timeout_s``. Raises NotFoundError.

        A blocking read answers with what is there, too, but not whether there is such a job: ``is_there`` says that.
        """
        deadline = time.monotonic() + timeout_s
        found = [] if is_there else await self.read(tenant, job_id, after_sequence, _PAGE)
        while not found and (remaining_s := deadline - time.monotonic()) > 0:
            found = await self._block(tenant, job_id, after_sequence, min(remaining_s, _BLOCK_S))
        return found

    async def _block(self, tenant: str, job_id: str, after_sequence: int, block_s: float) -> list[JobEvent]:
        stream = keys.events(tenant, job_id)
        # BLOCK 0 would wait for ever.
        block_ms = max(1, round(block_s * 1000))
        try:
            async with asyncio.timeout(block_s):
                await self._free.acquire()
        except TimeoutError:
            return await self.read(tenant, job_id, after_sequence, _PAGE)
        try:
            with connection.translated(self._url, f"wait for events of job {job_id}"):
                replies: Any = await self._waiting_redis.xread({stream: f"{after_sequence}-0"}, _PAGE, block_ms)
        finally:
            self._free.release()
        return _decoded(replies[0][1]) if replies else []


def _decoded(entries: list[tuple[str, dict[str, str]]]) -> list[JobEvent]:
    return [codec.event_from(entry_id, fields) for entry_id, fields in entries]
