"""Pages of jobs, newest first."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from kdaif.errors import InvalidInputError
from kdaif.queue import codec, connection, keys
from kdaif.queue.ids import is_job_id
from kdaif.records import Job, JobState

# Jobs read at a time, and the most that are read for one page: a rare state must not make a call read everything.
_BATCH = 200
_MOST_READ = 2000


async def read_page(
    redis: Redis, url: str, tenant: str, limit: int, cursor: str, states: frozenset[JobState]
) -> tuple[list[Job], str]:
    """A page and the cursor of the next, as ``JobQueue.list`` promises them."""
    if limit < 1:
        raise InvalidInputError.of("limit", f"is {limit}; it must be at least 1")
    if cursor and not is_job_id(cursor):
        raise InvalidInputError.of("cursor", f"is {cursor!r}; pass on what the page before returned")
    batch = _BATCH if states else min(limit, _BATCH)
    page: list[Job] = []
    for _ in range(max(1, _MOST_READ // batch)):
        with connection.translated(url, "list jobs"):
            ids, hashes = await _read_older(redis, tenant, cursor, batch)
        for position, (job_id, fields) in enumerate(zip(ids, hashes, strict=False), start=1):
            cursor = job_id
            if fields and (not states or fields["state"] in states):
                page.append(codec.job_from(tenant, job_id, fields))
            if len(page) == limit:
                return page, cursor if position < len(ids) else ""
        if len(ids) <= batch:
            return page, ""
    return page, cursor


async def _read_older(redis: Redis, tenant: str, cursor: str, batch: int) -> tuple[list[str], list[dict[str, str]]]:
    """One id more than ``batch``, which shows that more follow, and the hashes of the first ``batch`` ids."""
    newest = f"({cursor}" if cursor else "+"
    ids: Any = await redis.zrevrangebylex(keys.jobs(tenant), newest, "-", 0, batch + 1)
    async with redis.pipeline(transaction=False) as pipeline:
        for job_id in ids[:batch]:
            pipeline.hgetall(keys.job(tenant, job_id))
        hashes = await pipeline.execute()
    return ids, hashes
