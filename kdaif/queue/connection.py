"""Connections to Redis or Valkey: bounded in number and in time, checked for durability, their errors translated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kdaif.errors import FailedPreconditionError, UnavailableError
from kdaif.queue.address import Address, Topology, parse, without_password
from kdaif.queue.cut_connections import told_as_errors

SOCKET_TIMEOUT_S = 5.0
"""A reply that takes longer counts as a dead connection. Blocking reads ask for less."""

MAX_CONNECTIONS = 32
"""Of the pool for commands. A caller waits up to ``SOCKET_TIMEOUT_S`` for a free one."""

# Pools of Sentinel and Cluster cannot make callers wait, and refuse them instead: so many that nobody is refused.
_MAX_UNBLOCKED_CONNECTIONS = 512
# Nodes of a Cluster that send elsewhere, or have none to send to while they choose a new primary.
_CLUSTER_TRIES = 3
# By which a server says that it cannot serve now. BUSY: somebody's script runs for seconds, and nothing else meanwhile.
_AWAY_CODES = {"MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "UNBLOCKED", "BUSY"}
# redis-py puts the command before the error of one that went with others.
_CODE = re.compile(r"(?:Command # .*? of pipeline caused error: \(['\"])?([A-Z]+) ", re.DOTALL)


def open_redis(url: str) -> Redis:
    """For commands. Each is sent at most twice: once more on a new connection, for one that Redis closed while idle.

    Raises InvalidInputError for a URL that is none.
    """
    address = parse(url)
    if address.topology is not Topology.ONE_SERVER:
        return _open_many(address, _MAX_UNBLOCKED_CONNECTIONS)
    pool = BlockingConnectionPool.from_url(url, max_connections=MAX_CONNECTIONS, timeout=SOCKET_TIMEOUT_S, **_options())
    return told_as_errors(Redis.from_pool(pool))


def open_waiting_redis(url: str, max_connections: int) -> Redis:
    """For blocking reads alone, so that waiters never take a connection from the commands."""
    address = parse(url)
    if address.topology is not Topology.ONE_SERVER:
        return _open_many(address, max_connections)
    pool = ConnectionPool.from_url(url, max_connections=max_connections, **_options())
    return told_as_errors(Redis.from_pool(pool))


def _open_many(address: Address, max_connections: int) -> Redis:
    options = _options() | dict(address.options)
    if address.topology is Topology.CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        options["retry"] = Retry(ExponentialBackoff(base=0.02, cap=0.2), _CLUSTER_TRIES)
        cluster: Any = RedisCluster(startup_nodes=nodes, max_connections=max_connections, ssl=address.is_tls, **options)
        # It takes the commands that a client of one server takes, and sends each to the node of its key.
        return cast("Redis", told_as_errors(cluster))
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        sentinel_kwargs=_options() | tls | {"ssl": address.is_tls} | dict(address.sentinel_options),
    )
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        address.service, sentinel, max_connections=max_connections, ssl=address.is_tls, **options
    )
    return told_as_errors(Redis.from_pool(pool))


def pool_of(redis: Redis) -> BlockingConnectionPool | None:
    """That of one server. Behind Sentinels and in a Cluster, which server has a key may change, and there is none."""
    pool = redis.connection_pool if isinstance(redis, Redis) else None
    return pool if isinstance(pool, BlockingConnectionPool) else None


async def close(redis: Redis) -> None:
    """Closes every connection, those to Sentinels too."""
    await redis.aclose()
    pool = redis.connection_pool if isinstance(redis, Redis) else None
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        # Replies of one shape under every version of redis-py.
        "protocol": 2,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(ExponentialBackoff(base=0.02, cap=0.2), 1),
    }


@contextmanager
def translated(url: str, action: str) -> Iterator[None]:
    """Turns what redis-py raises when the server is away, full or read-only into UnavailableError.

    Args:
        url: of the server, for the message.
        action: what was tried, for the message: "claim a job".
    """
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, OSError) as error:
        raise _unavailable(url, action, error) from error
    except ResponseError as error:
        if _is_away(error):
            raise _unavailable(url, action, error) from error
        raise
    except RedisError as error:
        raise _unavailable(url, action, error) from error


def _is_away(error: ResponseError) -> bool:
    code = _CODE.match(str(error))
    return code is not None and code[1] in _AWAY_CODES


def _unavailable(url: str, action: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"Could not {action}: Redis at {without_password(url)} does not serve ({type(error).__name__}: {error}). "
        "Nothing that was acknowledged is lost; try again, and look at the server's log if it goes on."
    )


@dataclass(frozen=True)
class Durability:
    """What a server's settings mean for jobs.

    Attributes:
        faults: settings by which it may lose acknowledged jobs, each with the fix.
        doubts: what could not be found out.
    """

    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def require(self, url: str) -> None:
        """Raises FailedPreconditionError where there are faults."""
        if self.faults:
            raise FailedPreconditionError(
                f"Redis at {without_password(url)} cannot keep jobs: {'; '.join(self.faults)}. To run with it all "
                "the same: --accept-redis-that-may-lose-jobs, or KDAIF_REQUIRE_DURABLE_REDIS=false."
            )


async def durability(redis: Redis, url: str) -> Durability:
    """Whether the server keeps what it acknowledges: through a restart, a full memory, and the loss of its host."""
    with translated(url, "check that it is durable"):
        if isinstance(redis, RedisCluster):
            await redis.initialize()
            found = [await _durability_of(redis, target_nodes=node) for node in redis.get_primaries()]
            return Durability(
                tuple(dict.fromkeys(fault for each in found for fault in each.faults)),
                tuple(dict.fromkeys(doubt for each in found for doubt in each.doubts)),
            )
        return await _durability_of(redis)


async def _durability_of(redis: Any, **of_node: Any) -> Durability:
    persistence: dict[str, Any] = await redis.info("persistence", **of_node)
    memory: dict[str, Any] = await redis.info("memory", **of_node)
    fsync = await _appendfsync(redis, **of_node)
    faults, doubts = [], []
    if not int(persistence.get("aof_enabled", 0)):
        faults.append(
            "appendonly is off, so a restart loses jobs: start the server with '--appendonly yes --appendfsync always'"
        )
    elif fsync is None:
        doubts.append("appendfsync cannot be read, since CONFIG GET is refused: make sure that it is 'always'")
    elif fsync != "always":
        faults.append(
            f"appendfsync is {fsync}, so the loss of the host loses the last jobs that were acknowledged: "
            "start the server with '--appendfsync always'"
        )
    policy = memory.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        faults.append(
            f"maxmemory-policy is {policy}, so a full memory silently drops jobs: "
            "start the server with '--maxmemory-policy noeviction'"
        )
    return Durability(tuple(faults), tuple(doubts))


async def _appendfsync(redis: Any, **of_node: Any) -> str | None:
    try:
        found: Any = await redis.config_get("appendfsync", **of_node)
    except ResponseError as error:
        # A managed server, or a user without the right; anything else is an outage.
        if _is_away(error):
            raise
        return None
    return str(found["appendfsync"]) if "appendfsync" in found else None
