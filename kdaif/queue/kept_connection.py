"""Commands on a connection that is kept for them.

A pool that gives a connection out and takes it back, a task for each of two time limits, and a command put together in
Python take several times as long as all else that a short command costs its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kdaif.queue.connection import SOCKET_TIMEOUT_S

_Asked: TypeAlias = tuple[bytes, asyncio.Future[Any]]


class KeptConnection:
    """One of a pool's, for one event loop. What is asked for while an answer is on its way goes in the next message."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._pool = pool
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Asked] = []
        self._is_busy = False
        self._running: asyncio.Task[None] | None = None

    async def ask(self, *command: str | int) -> Any:
        """What the server answers; never older than the question. Raises what redis-py raises.

        The command is sent once more, on a connection that the pool has looked at, where the server had closed the
        first while it was idle, or its answer was lost: it must be one that may be run twice. A time-out ends it: by a
        server that took this long, the same would take as long again.
        """
        answer = asyncio.get_running_loop().create_future()
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub knows commands of one word alone
        if self._is_busy:
            self._waiting.append((packed, answer))
            return await answer
        self._is_busy = True
        try:
            # In the caller's own task: another one would cost as much as the rest.
            await self._answer([(packed, answer)])
            return answer.result()
        finally:
            if self._waiting:
                self._running = asyncio.create_task(self._run())
            else:
                self._is_busy = False

    async def _run(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._answer(asked)
        finally:
            self._is_busy = False

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        """All of them, with what was raised where it came to that."""
        try:
            connection = self._connection or await self._taken()
            try:
                await self._exchange(connection, _open(asked))
            except RedisConnectionError:
                await self._exchange(await self._taken(), _open(asked))
        except Exception as error:
            for _, answer in _open(asked):
                answer.set_exception(error)
        except BaseException:
            for _, answer in _open(asked):
                answer.cancel()
            raise

    async def _exchange(self, connection: AbstractConnection, asked: Sequence[_Asked]) -> None:
        try:
            # One for the whole exchange, which costs less than one for each of its steps.
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await connection.send_packed_command([packed for packed, _ in asked])
                for _, answer in asked:
                    tell: Callable[[Any], None] = answer.set_result
                    try:
                        found: Any = await connection.read_response()
                    except ReadOnlyError as error:
                        # The server has become a replica; at the same address there may be a new primary by now. Those
                        # of the pool that only read would go on with what the replica has.
                        await self._pool.disconnect()
                        raise RedisConnectionError(f"The server is a replica: {error}") from error
                    except ResponseError as error:
                        tell, found = answer.set_exception, error
                    if not answer.done():  # who asked may be gone
                        tell(found)
        except TimeoutError as error:
            await self._drop(connection)
            raise RedisTimeoutError(f"Timeout reading an answer, after {SOCKET_TIMEOUT_S:g} s") from error
        except BaseException:
            await self._drop(connection)
            raise

    async def _taken(self) -> AbstractConnection:
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        connection.socket_timeout = None
        self._connection = connection
        return connection

    async def _drop(self, connection: AbstractConnection) -> None:
        """Closed: answers may be on their way that nobody would read."""
        self._connection = None
        connection.socket_timeout = SOCKET_TIMEOUT_S
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)


def _open(asked: Sequence[_Asked]) -> list[_Asked]:
    """Those that somebody still waits for."""
    return [each for each in asked if not each[1].done()]
