"""Which version of kdaif wrote what lies in Redis, and the steps from one version of it to the next.

A server brings older data up to date when it starts, and refuses newer data. A worker reads what its server wrote as
long as that version says so. Each step may be run again, by several servers at once, and while servers and workers of
the version before are at work; the version is written when every step is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from kdaif.errors import FailedPreconditionError
from kdaif.queue import codec, connection, keys
from kdaif.queue.address import without_password

VERSION = 2
"""Of what this kdaif writes. It goes up with every change that an older one would misread, or that needs a step."""

OLDEST_WORKER = 1
"""The oldest version whose workers may work on what this kdaif writes."""

_BATCH = 200


async def prepare(url: str) -> int:
    """For a server, before it answers: brings what is there up to date. Returns the version that was there before.

    Raises:
        FailedPreconditionError: a newer kdaif wrote it.
        UnavailableError: the server does not answer.
    """
    redis = connection.open_redis(url)
    try:
        with connection.translated(url, "look at the version of its data"):
            found = await _version(redis)
            if found > VERSION:
                raise FailedPreconditionError(
                    f"Redis at {without_password(url)} holds data of version {found}, and this kdaif knows versions "
                    f"up to {VERSION}: a newer kdaif runs here, or ran. Start that one; its data cannot be taken back."
                )
            for version in range(found, VERSION):
                await _STEPS[version](redis)
            if found < VERSION or not await redis.exists(keys.SCHEMA):
                await redis.hset(keys.SCHEMA, mapping={"version": str(VERSION), "oldest_worker": str(OLDEST_WORKER)})
            return found
    finally:
        await connection.close(redis)


async def require_readable(url: str) -> None:
    """For a worker, before it claims. Raises FailedPreconditionError where it is too old for what is there."""
    redis = connection.open_redis(url)
    try:
        with connection.translated(url, "look at the version of its data"):
            oldest = int(await redis.hget(keys.SCHEMA, "oldest_worker") or 1)
    finally:
        await connection.close(redis)
    if oldest > VERSION:
        raise FailedPreconditionError(
            f"Redis at {without_password(url)} holds data for workers of version {oldest} and later, and this one "
            f"is of version {VERSION}. Install the kdaif of the server."
        )


async def _version(redis: Redis) -> int:
    """An empty Redis is of this version; data without a version are of the first."""
    found = await redis.hget(keys.SCHEMA, "version")
    if found is not None:
        return int(found)
    return 1 if await redis.exists(keys.TENANTS) else VERSION


async def _digests_without_defaults(redis: Redis) -> None:
    """1 to 2: what two requests of one id must agree on is no longer changed by a setting that a release adds."""
    tenants: Any = await redis.smembers(keys.TENANTS)
    for tenant in sorted(tenants):
        async for ids in _batches(redis, keys.jobs(tenant)):
            async with redis.pipeline(transaction=False) as pipeline:
                for job_id in ids:
                    pipeline.hgetall(keys.job(tenant, job_id))
                hashes = await pipeline.execute()
            async with redis.pipeline(transaction=False) as pipeline:
                for job_id, fields in zip(ids, hashes, strict=True):
                    if fields:
                        job = codec.job_from(tenant, job_id, fields)
                        digest = codec.body_digest(job.spec, job.display_name)
                        # Only where it is: a job that is deleted meanwhile must not come back as one lonely field.
                        pipeline.eval(
                            _REPLACE, 2, keys.job(tenant, job_id), keys.request(tenant, fields["request_id"]), digest
                        )
                await pipeline.execute()


_REPLACE = """
for i = 1, 2 do
  if redis.call('HEXISTS', KEYS[i], 'body') == 1 then
    redis.call('HSET', KEYS[i], 'body', ARGV[1])
  end
end
return 1
"""

_STEPS: dict[int, Callable[[Redis], Awaitable[None]]] = {1: _digests_without_defaults}


async def _batches(redis: Redis, key: str) -> AsyncIterator[list[str]]:
    start = 0
    while ids := await redis.zrange(key, start, start + _BATCH - 1):
        yield [str(job_id) for job_id in ids]
        start += _BATCH
