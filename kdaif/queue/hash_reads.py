"""Hashes as they are now, asked for one after the other on a connection that is kept for it.

A pool that gives a connection out and takes it back, streams, and a pipeline with its retries and measurements take
several times as long as the hash of one job itself; here they come in where the kept connection fails.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kdaif.queue import codec
from kdaif.queue.connection import SOCKET_TIMEOUT_S

_Hash: TypeAlias = Mapping[str, str]
_Answer: TypeAlias = asyncio.Future[_Hash]


class HashReads:
    """Of one event loop. What is asked for in one turn of it goes in one message, and each hash once.

    None is older than its caller: it is sent after it was asked for.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # Behind Sentinels and in a Cluster, which server has a key may change: there each read is asked for anew.
        pool = redis.connection_pool if isinstance(redis, Redis) else None
        self._pool = pool if isinstance(pool, BlockingConnectionPool) else None
        self._kept: _Kept | None = None
        self._connecting: asyncio.Task[_Kept] | None = None
        self._waiting: dict[str, list[_Answer]] = {}
        self._running: asyncio.Task[None] | None = None

    async def hash(self, key: str) -> _Hash:
        """Empty where there is none. Raises what redis raises."""
        if self._pool is not None:
            try:
                kept = self._kept
                if kept is None or kept.is_lost:
                    kept = await self._connected(self._pool)
                # One for each caller: where one is cancelled, the others still get theirs.
                return await kept.ask(key)
            except RedisTimeoutError:
                raise  # by who took this long, the same would take as long again
            except (RedisError, OSError):
                pass
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _connected(self, pool: BlockingConnectionPool) -> _Kept:
        """One attempt for all who ask meanwhile, so that an outage takes no caller longer than another."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(pool))
            self._connecting.add_done_callback(self._has_connected)
        return await asyncio.shield(self._connecting)

    async def _connect(self, pool: BlockingConnectionPool) -> _Kept:
        lost, self._kept = self._kept, None
        if lost is not None:
            await lost.give_back(pool)
        return _Kept(await pool.get_connection())  # type: ignore[no-untyped-call]

    def _has_connected(self, done: asyncio.Task[_Kept]) -> None:
        self._connecting = None
        if not done.cancelled() and done.exception() is None:
            self._kept = done.result()

    async def _run(self) -> None:
        """By a pipeline, with all its retries; what is asked for while one is on its way goes in the next."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                await self._answer(batch)
        finally:
            self._running = None

    async def _answer(self, batch: Mapping[str, list[_Answer]]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in batch:
                    pipeline.hgetall(key)
                found = await pipeline.execute()
        except BaseException as error:
            for answer in _open(chain.from_iterable(batch.values())):
                answer.set_exception(error) if isinstance(error, Exception) else answer.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for answers, fields in zip(batch.values(), found, strict=True):
                for answer in _open(answers):
                    answer.set_result(fields)


class _Kept(asyncio.Protocol):
    """A connection of redis-py after its greeting, whose bytes come here from then on."""

    def __init__(self, connection: Any) -> None:
        self.is_lost = False
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(encoding="utf-8", replyError=RedisError)
        self._unsent: dict[str, list[_Answer]] = {}
        self._asked: deque[tuple[float, list[_Answer]]] = deque()
        self._is_watched = False
        self._transport: Any = connection._writer.transport
        self._greeter = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def ask(self, key: str) -> _Answer:
        answer: _Answer = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.setdefault(key, []).append(answer)
        return answer

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, {}
        now = self._loop.time()
        self._asked.extend((now, answers) for answers in unsent.values())
        try:
            self._transport.write(b"".join(_hgetall(key) for key in unsent))
        except RuntimeError:  # of uvloop, whose transport is closed; asyncio's take what nobody will read
            self.is_lost = True
        if self.is_lost:
            self._fail(RedisConnectionError("The connection was cut before a command was sent."))
        elif not self._is_watched:
            self._is_watched = True
            self._loop.call_later(SOCKET_TIMEOUT_S, self._look)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (found := self._reader.gets()) is not False:
            _, answers = self._asked.popleft()
            for answer in _open(answers):
                if isinstance(found, Exception):
                    answer.set_exception(found)
                else:
                    answer.set_result(codec.pairs(found))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RedisConnectionError(f"The connection was cut: {exc}"))
        self._greeter.connection_lost(exc)

    def _look(self) -> None:
        """Whether an answer takes too long; one look for all of them."""
        self._is_watched = False
        if not self._asked:
            return
        left_s = self._asked[0][0] + SOCKET_TIMEOUT_S - self._loop.time()
        if left_s <= 0:
            self._fail(RedisTimeoutError("Timeout reading jobs"))
            self._transport.abort()
        else:
            self._is_watched = True
            self._loop.call_later(left_s, self._look)

    def _fail(self, error: Exception) -> None:
        self.is_lost = True
        while self._asked:
            for answer in _open(self._asked.popleft()[1]):
                answer.set_exception(error)

    async def give_back(self, pool: BlockingConnectionPool) -> None:
        """Closed: answers may be on their way that nobody would read."""
        await self._connection.disconnect(nowait=True)
        await pool.release(self._connection)


def _hgetall(key: str) -> bytes:
    encoded = key.encode()
    return b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n" % (len(encoded), encoded)


def _open(answers: Iterable[_Answer]) -> Iterator[_Answer]:
    """Those that somebody still waits for."""
    return (answer for answer in answers if not answer.done())
