"""Which tenants there are, and which of them may have work, so that idle ones cost a claim nothing.

The keys of one tenant share a slot of a Cluster, and those here lie in another, so no script can keep both in step.
Therefore a tenant becomes busy before it gets work, and stays so for at least nine minutes; only then, seen without
any, it is left out. Should a process have stood still for so long in between, a look at all tenants brings it back.
"""

from __future__ import annotations

import time
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ClusterCrossSlotError

from kdaif.queue import keys
from kdaif.queue.scripts import Script, Scripts

_BUSY_MS = 540_000
_MADE_BUSY_MS = 600_000
_LOOK_S = 600.0


class Tenants:
    """Reads and writes the keys that name tenants. What redis-py raises is the caller's to translate."""

    def __init__(self, redis: Redis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts
        self._looked_at: float | None = None
        self._last_busy: list[str] = []
        self._share_a_server = not isinstance(redis, RedisCluster)

    async def touch(self, tenant: str, *, may_be_new: bool = False) -> None:
        """The tenant is about to get work. A tenant without any does no harm; one that is not touched is not served."""
        await self._scripts.touch(keys.OF_TENANTS, [*touching(tenant), "1" if may_be_new else "0"])

    async def give_work(self, tenant: str, script: Script, script_keys: list[str], arguments: list[str]) -> Any:
        """Runs a script that makes the tenant busy by itself, given the keys here behind its own.

        Where no script can have both, one makes the tenant busy and then the other gives it work.
        """
        if self._share_a_server:
            try:
                return await script([*script_keys, *keys.OF_TENANTS], arguments)
            except ClusterCrossSlotError:
                # A node of a Cluster that is addressed as one server. It looks at the keys before it runs anything.
                self.lie_apart()
        await self.touch(tenant, may_be_new=True)
        return await script(script_keys, arguments)

    async def all(self) -> list[str]:
        """Every tenant that ever had a job."""
        members: Any = await self._redis.smembers(keys.TENANTS)
        return sorted(members)

    async def busy(self) -> list[str]:
        """Those that may have jobs that are not over, or something for the archive."""
        members: Any = await self._redis.zrange(keys.BUSY, 0, -1)
        return sorted(members)

    @property
    def lone(self) -> str | None:
        """The one tenant that was busy at the last look. None where no script can look again."""
        return self._last_busy[0] if len(self._last_busy) == 1 and self._share_a_server else None

    def lie_apart(self) -> None:
        """The keys here and those of a tenant are not for one script, as it turned out."""
        self._share_a_server = False

    async def running(self, worker: str) -> dict[str, int]:
        """Jobs under way of each tenant that has somebody in line, for a worker; none where it is not ACTIVE.

        One round trip, unless there are other tenants than at the last look. A lone tenant, which has no rival, has 0.
        """
        guess = self._last_busy if len(self._last_busy) > 1 else []
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hexists(keys.MODES, worker)
            pipeline.zrange(keys.BUSY, 0, -1)
            _count_jobs(pipeline, guess)
            is_held_up, tenants, *answers = await pipeline.execute()
        if is_held_up:
            return {}
        self._last_busy = tenants
        if len(tenants) < 2:
            return dict.fromkeys(tenants, 0)
        if tenants != guess:
            async with self._redis.pipeline(transaction=False) as pipeline:
                _count_jobs(pipeline, tenants)
                answers = await pipeline.execute()
        counts = zip(tenants, answers[::2], answers[1::2], strict=True)
        return {tenant: under_way for tenant, has_jobs, under_way in counts if has_jobs}

    async def tidy(self) -> None:
        """Leaves out who has had no work for long; at first and every ten minutes, looks for whom that overlooked."""
        idle = [tenant for tenant, works in (await self._at_work(await self.busy())).items() if not works]
        for tenant in idle:
            if await self._scripts.retire([keys.BUSY], [tenant]):
                # Its next look for leases must not take the time in between for an outage.
                await self._redis.delete(keys.reaped(tenant))
        if self._looked_at is None or time.monotonic() - self._looked_at > _LOOK_S:
            overlooked = set(await self.all()).difference(await self.busy())
            for tenant, works in (await self._at_work(sorted(overlooked))).items():
                if works:
                    await self.touch(tenant)
            self._looked_at = time.monotonic()

    async def _at_work(self, tenants: list[str]) -> dict[str, bool]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for tenant in tenants:
                pipeline.exists(*keys.of_work(tenant))
            return dict(zip(tenants, map(bool, await pipeline.execute()), strict=True))


def touching(tenant: str) -> list[str]:
    """What the scripts that make a tenant busy are told of it."""
    return [tenant, str(_BUSY_MS), str(_MADE_BUSY_MS)]


def _count_jobs(pipeline: Any, tenants: list[str]) -> None:
    for tenant in tenants:
        pipeline.exists(keys.line(tenant), keys.delayed(tenant))
        pipeline.zcard(keys.leases(tenant))
