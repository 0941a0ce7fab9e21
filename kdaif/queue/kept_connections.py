"""Commands on connections that are kept for them.

A pool that gives a connection out and takes it back, a task for each of two time limits, and a command put together in
Python take twice as long as all else that the call of a script costs its client.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kdaif.queue.connection import SOCKET_TIMEOUT_S

# Of the pool's: others wait there for a connection, and those that are kept do not come back to it.
_MOST_KEPT = 8


class KeptConnections:
    """Some of a pool's. Commands beyond their number take one out of the pool and give it back."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool
        self._kept: set[AbstractConnection] = set()
        self._idle: list[AbstractConnection] = []

    async def ask(self, *command: str | int) -> Any:
        """What the server answers. Raises what redis-py raises.

        The command is sent once more, on a connection that the pool has looked at, where the server had closed the
        first while it was idle, or its answer was lost: it must be one that may be run twice.
        """
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word alone
        connection = self._idle.pop() if self._idle else await self._taken()
        try:
            return await self._asked(connection, packed)
        except (RedisConnectionError, RedisTimeoutError):
            return await self._asked(await self._taken(), packed)

    async def _asked(self, connection: AbstractConnection, packed: bytes) -> Any:
        try:
            # One for the whole exchange, which costs less than one for each of its steps.
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await connection.send_packed_command(packed)
                answer = await connection.read_response()
        except ResponseError:
            await self._put_back(connection)
            raise
        except TimeoutError as error:
            await self._drop(connection)
            raise RedisTimeoutError(f"Timeout reading an answer, after {SOCKET_TIMEOUT_S:g} s") from error
        except BaseException:
            await self._drop(connection)
            raise
        await self._put_back(connection)
        return answer

    async def _taken(self) -> AbstractConnection:
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        connection.socket_timeout = None
        if len(self._kept) < _MOST_KEPT:
            self._kept.add(connection)
        return connection

    async def _put_back(self, connection: AbstractConnection) -> None:
        if connection in self._kept:
            self._idle.append(connection)
        else:
            await self._release(connection)

    async def _drop(self, connection: AbstractConnection) -> None:
        """Closed: an answer may be on its way that nobody would read."""
        self._kept.discard(connection)
        await connection.disconnect(nowait=True)
        await self._release(connection)

    async def _release(self, connection: AbstractConnection) -> None:
        connection.socket_timeout = SOCKET_TIMEOUT_S
        await self._pool.release(connection)
