"""What jobs may not leave behind, in Redis and in the blob store."""

from __future__ import annotations

import itertools

from kdaif.queue import keys
from kdaif.store import layout
from tests.chaos.plan import TENANTS
from tests.chaos.world import World


def keys_under_way(world: World) -> list[str]:
    """Of ended jobs nothing may be in line, delayed, or under a lease, and no shard may be there."""
    with world.redis() as redis:
        groups = (keys.line, keys.delayed, keys.needs, keys.leases, keys.extended, keys.deadlines, keys.claims)
        named = [key(tenant) for key, tenant in itertools.product(groups, TENANTS)]
        of_shards = [key for tenant in TENANTS for key in redis.scan_iter(f"{keys.job(tenant, '*')}-*")]
        return [key for key in named if redis.exists(key)] + of_shards


def keys_of_jobs(world: World) -> list[str]:
    """Once all jobs are deleted, only what belongs to a tenant, to the workers or to all data may be there."""
    of_tenants = (key(tenant) for key in (keys.order, keys.reaped) for tenant in TENANTS)
    known = {keys.SCHEMA, *keys.OF_TENANTS, *of_tenants}
    with world.redis() as redis:
        return [key for key in redis.scan_iter("*") if key not in known and ":{:workers}:" not in key]


def shard_files(world: World) -> list[str]:
    """Of ended jobs none may be there."""
    blobs = world.blobs
    paths = (entry.path for tenant in TENANTS for entry in blobs.entries(layout.jobs(tenant)))
    return [path for path in paths if layout.is_shard_file(path)]


def redis_bytes(world: World) -> int:
    """Of Redis, without the scripts that it knows and the buffers of those who are connected."""
    with world.redis() as redis:
        info = redis.info("memory")
    passing = ("used_memory_scripts", "mem_clients_normal", "mem_aof_buffer")
    return int(info["used_memory"]) - sum(int(info.get(name, 0)) for name in passing)
