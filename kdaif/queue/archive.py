"""What the archive in the blob store has yet to write, and taking jobs back from it into an empty Redis."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from kdaif.queue import codec, connection, keys
from kdaif.queue.scripts import Scripts
from kdaif.records import TERMINAL_STATES, JobSnapshot, JobState

# Attempts and versions count on from the next full thousand: an attempt that the archive never saw must stay fenced
# off, and a server that is still writing an old version must not take the number of a new one.
_FLOOR_STEP = 1000


class ArchiveIndex:
    """Reads and writes the keys that tell which jobs the archive lacks."""

    def __init__(self, url: str, redis: Redis, scripts: Scripts) -> None:
        self._url = url
        self._redis = redis
        self._scripts = scripts

    async def unsaved(self, tenants: Sequence[str], limit: int) -> list[JobSnapshot]:
        """Jobs as they are now that have changed since they were last written, at most ``limit``."""
        found: list[JobSnapshot] = []
        with connection.translated(self._url, "look for jobs to archive"):
            for tenant in tenants:
                ids = await self._some(keys.unsaved(tenant), limit - len(found))
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for job_id in ids:
                        pipeline.hgetall(keys.job(tenant, job_id))
                    hashes = await pipeline.execute()
                found += [
                    codec.snapshot_from(tenant, job_id, fields)
                    for job_id, fields in zip(ids, hashes, strict=True)
                    if fields  # deleted between the two looks
                ]
                if len(found) >= limit:
                    break
        return found

    async def saved(self, tenant: str, job_id: str, version: int) -> None:
        """Forgets that the job is to be written, unless it has changed since ``version``."""
        with connection.translated(self._url, "note an archived job"):
            await self._scripts.saved([keys.unsaved(tenant)], [job_id, str(version)])

    async def ended_before(self, tenants: Sequence[str], before_ms: int, limit: int) -> list[tuple[str, str]]:
        """Tenant and id of terminal jobs, the oldest of each tenant first."""
        found: list[tuple[str, str]] = []
        with connection.translated(self._url, "look for old jobs"):
            for tenant in tenants:
                ids: Any = await self._redis.zrangebyscore(
                    keys.ended(tenant), "-inf", f"({before_ms}", 0, limit - len(found)
                )
                found += [(tenant, job_id) for job_id in ids]
                if len(found) >= limit:
                    break
        return found

    async def deleted(self, tenants: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """Tenant and id of deleted jobs whose blobs are still to be removed."""
        found: list[tuple[str, str]] = []
        with connection.translated(self._url, "look for deleted jobs"):
            for tenant in tenants:
                ids: Any = await self._redis.srandmember(keys.deleted(tenant), limit - len(found))
                found += [(tenant, job_id) for job_id in ids]
                if len(found) >= limit:
                    break
        return found

    async def erased(self, tenant: str, job_id: str) -> None:
        """The blobs of a deleted job are gone."""
        with connection.translated(self._url, "note an erased job"):
            await self._redis.srem(keys.deleted(tenant), job_id)

    async def restore(self, snapshot: JobSnapshot) -> bool:
        """Puts a job back as ``JobQueue.restore`` promises."""
        job = snapshot.job
        with connection.translated(self._url, f"restore job {job.id}"):
            ended_at_ms = job.ended_at_ms
            if job.state is JobState.CANCELLING:
                ended_at_ms = await self._scripts.now([keys.ended(job.tenant)])
            answer = await self._scripts.restore(
                [
                    *keys.of_job(job.tenant, job.id),
                    keys.jobs(job.tenant),
                    keys.request(job.tenant, snapshot.request_id),
                    keys.deleted(job.tenant),
                ],
                [
                    job.id,
                    uuid.uuid4().hex,
                    # Made anew: the archive may be of a version that made it otherwise.
                    codec.body_digest(snapshot.job.spec, snapshot.job.display_name),
                    _state_after(job.state),
                    str(_floor(snapshot.version)),
                    str(job.attempt),
                    str(_floor(max(job.attempt, snapshot.attempt_floor))),
                    "" if ended_at_ms is None else str(ended_at_ms),
                    "" if job.deadline_at_ms is None else str(job.deadline_at_ms),
                    *codec.flat(codec.restored_fields(snapshot)),
                ],
            )
        return bool(answer[0] == "OK")

    async def _some(self, key: str, limit: int) -> list[str]:
        """Up to ``limit`` names of a hash."""
        cursor, found = 0, dict[str, None]()  # a scan may name one twice
        while len(found) < limit:
            page: Any
            cursor, page = await self._redis.hscan(key, cursor, count=limit)
            found |= dict.fromkeys(page)
            if cursor == 0:
                break
        return list(found)[:limit]


def _floor(number: int) -> int:
    return (number // _FLOOR_STEP + 1) * _FLOOR_STEP


def _state_after(state: JobState) -> JobState:
    """Nobody works on a job that comes out of the archive."""
    if state is JobState.CANCELLING:
        return JobState.CANCELLED
    return state if state in TERMINAL_STATES or state is JobState.AWAITING_REVIEW else JobState.QUEUED
