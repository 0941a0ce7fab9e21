"""The workers that are there, and what an operator wants of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from redis.asyncio import Redis

from kdaif.errors import NotFoundError
from kdaif.queue import connection, keys
from kdaif.queue.scripts import Scripts
from kdaif.records import Job, Worker, WorkerMode, WorkerOffer


class _Said(BaseModel):
    """What a worker last said of itself."""

    gpus: int
    labels: list[str]
    tenant: str
    job_id: str
    note: str = ""


class WorkerRegistry:
    """Reads and writes the keys of the workers."""

    def __init__(self, url: str, redis: Redis, scripts: Scripts) -> None:
        self._url = url
        self._redis = redis
        self._scripts = scripts

    async def announce(self, offer: WorkerOffer, job: Job | None, note: str, silent_after_ms: int) -> WorkerMode:
        """One beat of a worker; answers what an operator wants of it."""
        said = _Said(
            gpus=offer.gpus,
            labels=sorted(offer.labels),
            tenant=job.tenant if job else "",
            job_id=job.id if job else "",
            note=note,
        )
        with connection.translated(self._url, "announce a worker"):
            mode = await self._scripts.announce(
                keys.OF_WORKERS, [offer.name, said.model_dump_json(), str(silent_after_ms)]
            )
        return WorkerMode(mode)

    async def leave(self, name: str) -> None:
        """The worker has ended."""
        with connection.translated(self._url, "sign off a worker"):
            await self._scripts.leave(keys.OF_WORKERS, [name])

    async def set_mode(self, name: str, mode: WorkerMode) -> None:
        """Raises NotFoundError for a worker that has never announced itself."""
        with connection.translated(self._url, "set the mode of a worker"):
            answer = await self._scripts.set_mode(keys.OF_WORKERS, [name, mode])
        if answer == "NOT_FOUND":
            raise NotFoundError(f"no worker {name!r} has announced itself; list the workers to see which there are")

    async def all(self) -> list[Worker]:
        """Every worker by name; the silent ones too, for a day, and for as long as they are paused."""
        with connection.translated(self._url, "list the workers"):
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hgetall(keys.WORKERS)
                pipeline.zrange(keys.BEATS, 0, -1, withscores=True)
                pipeline.hgetall(keys.MODES)
                said, beats, modes = await pipeline.execute()
            now_ms = await self._scripts.now([keys.BEATS])
        silent_at_ms = {name: int(score) for name, score in beats}
        return [_worker(name, text, silent_at_ms, modes, now_ms) for name, text in sorted(said.items())]


def _worker(name: str, text: str, silent_at_ms: Mapping[str, int], modes: Mapping[str, Any], now_ms: int) -> Worker:
    said = _Said.model_validate_json(text)
    ends = silent_at_ms.get(name, 0)
    return Worker(
        offer=WorkerOffer(name, said.gpus, frozenset(said.labels)),
        mode=WorkerMode(modes.get(name, WorkerMode.ACTIVE)),
        is_present=ends > now_ms,
        silent_at_ms=ends,
        tenant=said.tenant,
        job_id=said.job_id,
        note=said.note,
    )
