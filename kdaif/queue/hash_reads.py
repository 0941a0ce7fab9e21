"""Hashes as they are now, many at a time, on a connection that is kept for it.

A pool that gives a connection out and takes it back, and a pipeline with its retries and measurements, take longer than
the hash of one job itself; here they come in where the kept connection fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kdaif.queue import codec
from kdaif.queue.connection import SOCKET_TIMEOUT_S


class HashReads:
    """Of one event loop, and one read at a time."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # Behind Sentinels and in a Cluster, which server has a key may change: there each read is asked for anew.
        pool = redis.connection_pool if isinstance(redis, Redis) else None
        self._pool = pool if isinstance(pool, BlockingConnectionPool) else None
        self._kept: AbstractConnection | None = None

    async def hashes(self, keys: Sequence[str]) -> list[Mapping[str, str]]:
        """Each of them, empty where there is none. Raises what redis raises."""
        if self._pool is not None:
            try:
                return await self._by_kept_connection(self._pool, keys)
            except RedisTimeoutError:
                raise  # by who took this long, the same would take as long again
            except (RedisError, OSError):
                pass
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hgetall(key)
            return list(await pipeline.execute())

    async def _by_kept_connection(self, pool: BlockingConnectionPool, keys: Sequence[str]) -> list[Mapping[str, str]]:
        if self._kept is None:
            self._kept = await pool.get_connection()  # type: ignore[no-untyped-call]
            # One for the whole exchange instead, which costs less than one for each of its steps.
            self._kept.socket_timeout = None
        kept = self._kept
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await kept.send_packed_command(kept.pack_commands([("HGETALL", key) for key in keys]))
                return [codec.pairs(await kept.read_response()) for _ in keys]
        except TimeoutError as error:
            await self._give_back(pool, kept)
            raise RedisTimeoutError("Timeout reading jobs") from error
        except BaseException:
            await self._give_back(pool, kept)
            raise

    async def _give_back(self, pool: BlockingConnectionPool, kept: AbstractConnection) -> None:
        """Closed: answers may be on their way that nobody would read."""
        self._kept = None
        kept.socket_timeout = SOCKET_TIMEOUT_S
        await kept.disconnect(nowait=True)
        await pool.release(kept)
