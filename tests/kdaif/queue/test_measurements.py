"""How the queue stands: counts, the age of the oldest by what it needs, and what Redis says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from redis import Redis

from kdaif.errors import FailureReason
from kdaif.queue import JobQueue, Measured, Measurements, keys
from kdaif.records import Failure, Scheduling, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

SMALL, BIG = WorkerOffer("small"), WorkerOffer("big", gpus=2, labels=frozenset({"a100"}))


def look(url: str) -> Measured:
    async def run() -> Measured:
        measurements = Measurements(url)
        try:
            return await measurements.look()
        finally:
            await measurements.close()

    return asyncio.run(run())


def age(raw: Redis, tenant: str, job_id: str, seconds: int) -> None:
    """Lets the job's last event be so much older."""
    key = keys.events(tenant, job_id)
    [(entry, fields)] = raw.xrevrange(key, count=1)  # type: ignore[misc]
    fields["time_ms"] = str(int(fields["time_ms"]) - seconds * 1000)
    raw.delete(key)
    raw.xadd(key, fields, id=entry)


def test_jobs_are_counted_by_state(url: str, play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(4):
            await submit(queue)
        await queue.claim(SMALL)
        await queue.fail(await queue.claim(SMALL), Failure(FailureReason.CRASHED, "died", retryable=True))
        await submit(queue, "other")

    play(scenario, retry_delay_s=60.0, chance=lambda: 1.0)
    acme, other = look(url).tenants
    assert (acme.tenant, acme.queued, acme.delayed, acme.running) == ("acme", 2, 1, 1)
    assert (other.tenant, other.queued, other.delayed, other.running) == ("other", 1, 0, 0)


def test_the_oldest_is_found_behind_more_urgent_ones_and_by_what_it_needs(
    url: str, raw: Redis, play: Play, submit: Submit
) -> None:
    async def scenario(queue: JobQueue) -> list[str]:
        urgent = await submit(queue, scheduling=Scheduling(priority=90))
        usual = await submit(queue)
        await submit(queue)
        big = await submit(queue, scheduling=Scheduling(gpus=1, worker_labels=("a100",)))
        return [urgent.id, usual.id, big.id]

    ids = play(scenario)
    for job_id, seconds in zip(ids, (50, 500, 5000), strict=True):
        age(raw, "acme", job_id, seconds)
    [acme] = look(url).tenants
    by_needs = {line.needs: line for line in acme.lines}
    assert {needs.gpus: line.jobs for needs, line in by_needs.items()} == {0: 3, 1: 1}
    assert 500 <= by_needs[Scheduling()].oldest_s < 560
    assert 5000 <= acme.oldest_s < 5060
    # Nobody is there for anything; the small worker leaves the GPU job, and the big one takes it.
    assert acme.unserved_s([]) == acme.oldest_s
    assert acme.unserved_s([SMALL]) == acme.oldest_s
    assert acme.unserved_s([WorkerOffer("g", gpus=1)]) + acme.oldest_s - 4500 >= 500
    assert acme.unserved_s([SMALL, BIG]) == 0


def test_a_job_given_back_to_its_old_place_does_not_hide_an_older_wait(
    url: str, raw: Redis, play: Play, submit: Submit
) -> None:
    async def scenario(queue: JobQueue) -> str:
        await submit(queue)
        second = await submit(queue)
        claim = await queue.claim(SMALL)
        await queue.give_back(claim, "stopped")
        return str(second.id)

    age(raw, "acme", play(scenario), 700)
    [acme] = look(url).tenants
    assert 700 <= acme.oldest_s < 760


def test_redis_is_seen_as_durable(url: str) -> None:
    redis = look(url).redis
    assert (redis.aof_is_enabled, redis.aof_is_healthy) == (True, True)
    assert redis.used_memory_bytes > 1000
    assert look(url).tenants == ()
