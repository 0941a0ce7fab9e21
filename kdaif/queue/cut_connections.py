"""That a connection was cut is one kind of error, whichever event loop runs.

asyncio's own transports take what is written to a connection that was reset, and tell it a step later by an OSError.
Those of uvloop raise a RuntimeError at once, which redis-py takes for a fault of its caller: it would neither connect
again nor call it an outage.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

_Client = TypeVar("_Client", bound=Redis | RedisCluster)


def told_as_errors(redis: _Client) -> _Client:
    """The same client, before its first connection, whose cut connections raise redis' ConnectionError."""
    if isinstance(redis, RedisCluster):
        given: Any = redis.connection_kwargs
        given["connection_class"] = _telling(given["connection_class"])
        for node in redis.startup_nodes:
            plain: Any = node.connection_class
            node.connection_class = _telling(plain)
    else:
        pool: Any = redis.connection_pool
        plain = pool.connection_class
        pool.connection_class = _telling(plain)
    return redis


@functools.cache
def _telling(kind: Any) -> Any:
    class Telling(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise RedisConnectionError(f"The connection was cut before a command was sent: {error}") from error

    return Telling
