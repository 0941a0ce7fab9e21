"""Reading single jobs: what clients that ask after their jobs cost the most."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from kdaif.queue import codec, keys
from kdaif.queue.connection import pool_of
from kdaif.queue.kept_connection import KeptConnection
from kdaif.records import Job

_MOST_REMEMBERED = 1024


class JobReads:
    """What Redis answers is compared with what it answered last of that job, and decoded where it differs.

    The same ``Job`` then means that nothing has changed.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        pool = pool_of(redis)
        self._kept = None if pool is None else KeptConnection(pool)
        self._remembered: OrderedDict[str, tuple[Mapping[str, str], Job]] = OrderedDict()

    async def read(self, tenant: str, job_id: str) -> Job | None:
        """The job as it is now; None when there is none. Raises what redis raises."""
        key = keys.job(tenant, job_id)
        fields: Mapping[str, str] = (
            await self._redis.hgetall(key) if self._kept is None else codec.pairs(await self._kept.ask("HGETALL", key))
        )
        return self._decoded(key, tenant, job_id, fields) if fields else None

    def _decoded(self, key: str, tenant: str, job_id: str, fields: Mapping[str, str]) -> Job:
        known = self._remembered.get(key)
        if known is not None and known[0] == fields:
            self._remembered.move_to_end(key)
            return known[1]
        job = codec.job_from(tenant, job_id, fields)
        self._remembered[key] = (fields, job)
        self._remembered.move_to_end(key)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return job
