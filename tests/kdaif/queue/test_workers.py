"""The workers that the queue knows, and what an operator asks of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import WorkerMode, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

OFFER = WorkerOffer("w1", gpus=2, labels=frozenset({"eu", "a100"}))
BEATS = "kdaif:{:workers}:beats"


def test_a_worker_is_listed_with_what_it_offers_and_does(play: Play, submit: Submit, until: Until) -> None:
    async def scenario(queue: JobQueue) -> None:
        assert await queue.workers() == []
        assert await queue.announce(OFFER) is WorkerMode.ACTIVE
        made = await submit(queue)
        await queue.announce(WorkerOffer("w0"), made)
        busy, idle = await queue.workers()
        assert (idle.offer, idle.mode, idle.is_present, idle.job_id) == (OFFER, WorkerMode.ACTIVE, True, "")
        assert (busy.offer.name, busy.tenant, busy.job_id) == ("w0", "acme", made.id)

        async def silent() -> bool:
            return not any(worker.is_present for worker in await queue.workers())

        await until(silent)

    play(scenario, lease_ttl_s=0.3)


def test_a_paused_worker_gets_nothing_until_it_is_resumed(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        await queue.announce(OFFER)
        await queue.pause_worker("w1")
        assert await queue.announce(OFFER) is WorkerMode.PAUSED
        assert await queue.claim(OFFER) is None
        await queue.leave("w1")  # a restart does not end a pause
        assert await queue.announce(OFFER) is WorkerMode.PAUSED
        await queue.unpause_worker("w1")
        assert await queue.announce(OFFER) is WorkerMode.ACTIVE
        assert (await queue.claim(OFFER)).job.id == made.id

    play(scenario)


def test_a_drained_worker_ends_its_job_and_starts_afresh(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue)
        await submit(queue)
        await queue.announce(OFFER)
        claim = await queue.claim(OFFER)
        await queue.drain_worker("w1")
        assert await queue.announce(OFFER, claim.job) is WorkerMode.DRAINING
        assert await queue.renew(claim)  # the job at hand is kept
        assert await queue.claim(OFFER) is None
        await queue.give_back(claim, "drained")
        await queue.leave("w1")
        assert await queue.workers() == []
        assert await queue.announce(OFFER) is WorkerMode.ACTIVE
        assert (await queue.claim(OFFER)).job.id == claim.job.id

    play(scenario)


def test_an_unknown_worker_cannot_be_paused(play: Play) -> None:
    async def scenario(queue: JobQueue) -> None:
        for ask in (queue.pause_worker("w9"), queue.unpause_worker("w9"), queue.drain_worker("w9")):
            with pytest.raises(NotFoundError, match="'w9'"):
                await ask
        await queue.leave("w9")

    play(scenario)


def test_workers_of_yesterday_are_forgotten_but_for_paused_ones(play: Play, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        for name in ("gone", "paused"):
            await queue.announce(WorkerOffer(name))
        await queue.pause_worker("paused")
        raw.zadd(BEATS, {"gone": 1, "paused": 1})
        await queue.announce(OFFER)
        assert [(worker.offer.name, worker.is_present) for worker in await queue.workers()] == [
            ("paused", False),
            ("w1", True),
        ]

    play(scenario)
