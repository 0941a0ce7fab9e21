"""Reading single jobs, many at a time: what clients that ask after their jobs cost the most."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from redis.asyncio import Redis

from kdaif.queue import codec, keys
from kdaif.queue.hash_reads import HashReads
from kdaif.records import Job

_MOST_REMEMBERED = 1024
_Answer: TypeAlias = asyncio.Future[Mapping[str, str]]


class JobReads:
    """Reads that come while one is on its way go together in the next, in one message each way.

    None is older than its caller: it is sent after it was asked for. What Redis answers is compared with what it
    answered last of that job, and decoded where it differs; the same ``Job`` then means that nothing has changed.
    """

    def __init__(self, redis: Redis) -> None:
        self._asked = HashReads(redis)
        self._waiting: dict[str, list[_Answer]] = {}
        self._running: asyncio.Task[None] | None = None
        self._remembered: OrderedDict[str, tuple[Mapping[str, str], Job]] = OrderedDict()

    async def read(self, tenant: str, job_id: str) -> Job | None:
        """The job as it is now; None when there is none. Raises what redis raises."""
        key = keys.job(tenant, job_id)
        # One for each caller: where one is cancelled, the others still get theirs.
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        fields = await answer
        return self._decoded(key, tenant, job_id, fields) if fields else None

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                await self._answer(batch)
        finally:
            self._running = None

    async def _answer(self, batch: Mapping[str, list[_Answer]]) -> None:
        try:
            found = await self._asked.hashes(list(batch))
        except BaseException as error:
            for answer in _open(chain.from_iterable(batch.values())):
                answer.set_exception(error) if isinstance(error, Exception) else answer.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for answers, fields in zip(batch.values(), found, strict=True):
                for answer in _open(answers):
                    answer.set_result(fields)

    def _decoded(self, key: str, tenant: str, job_id: str, fields: Mapping[str, str]) -> Job:
        known = self._remembered.get(key)
        if known is not None and known[0] == fields:
            self._remembered.move_to_end(key)
            return known[1]
        job = codec.job_from(tenant, job_id, fields)
        self._remembered[key] = (fields, job)
        self._remembered.move_to_end(key)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return job


def _open(answers: Iterable[_Answer]) -> Iterator[_Answer]:
    """Those that somebody still waits for."""
    return (answer for answer in answers if not answer.done())
