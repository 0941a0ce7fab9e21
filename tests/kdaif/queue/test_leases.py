"""Leases: renewed, lost, taken away, and kept through an outage of the server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailureReason, FencedError
from kdaif.queue import Claim, JobQueue
from kdaif.records import Failure, Job, JobResult, JobState, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)
LEASES, REAPED = "kdaif:{acme}:leases", "kdaif:{acme}:reaped"


def lease_ends(raw: Redis, job_id: str) -> float:
    score = raw.zscore(LEASES, job_id)
    assert isinstance(score, float)
    return score


def test_q1_a_renewed_long_job_starts_once(play: Play, submit: Submit, until: Until) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        over_ms = claim.lease_expires_ms + 3 * 800

        async def four_leases_later() -> bool:
            assert await queue.renew(claim)
            assert await queue.reap() == []
            assert await queue.claim(WorkerOffer("thief")) is None
            await queue.publish(claim, "progress")
            events = await queue.events("acme", made.id, after_sequence=0)
            return bool(events[-1].time_ms > over_ms)

        await until(four_leases_later)
        await queue.succeed(claim, RESULT)
        events = await queue.events("acme", made.id, after_sequence=0)
        assert [event.kind for event in events if event.kind != "progress"] == ["queued", "claimed", "finished"]

    play(scenario, lease_ttl_s=0.8)


def test_q2_a_stale_finisher_is_fenced(play: Play, submit: Submit, until: Until) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        stale = await queue.claim(WorkerOffer("stopped"))
        assert stale is not None
        [lost] = await until(queue.reap)
        assert (lost.id, lost.state, lost.failure.reason) == (made.id, JobState.QUEUED, FailureReason.LOST)
        # Between two attempts nobody holds the job, the late first one least of all.
        for late in (queue.renew(stale), queue.succeed(stale, RESULT), queue.fail(stale, CRASH)):
            with pytest.raises(FencedError, match="QUEUED at attempt 1"):
                await late
        current = await queue.claim(WorkerOffer("w"))
        assert current is not None
        assert current.token == 2
        for late in (
            queue.renew(stale),
            queue.publish(stale, "progress"),
            queue.succeed(stale, RESULT),
            queue.fail(stale, CRASH),
        ):
            with pytest.raises(FencedError, match="RUNNING at attempt 2"):
                await late
        assert (await queue.succeed(current, RESULT)).state is JobState.SUCCEEDED
        with pytest.raises(FencedError):
            await queue.succeed(stale, RESULT)

    play(scenario, lease_ttl_s=0.3)


def test_q2_a_claim_that_a_failover_lost_is_fenced_though_its_number_comes_again(
    play: Play, submit: Submit, url: str
) -> None:
    """Q2: the replica that took over never saw the first claim."""

    async def scenario(queue: JobQueue) -> None:
        await submit(queue)
        with Redis.from_url(url) as redis:
            before = {key: redis.dump(key) for key in redis.keys("*")}
            lost = await queue.claim(WorkerOffer("w1"))
            redis.flushall()
            for key, value in before.items():
                redis.restore(key, 0, value)
        current = await queue.claim(WorkerOffer("w2"))
        assert lost.token == current.token == 1
        for late in (queue.renew(lost), queue.succeed(lost, RESULT), queue.fail(lost, CRASH)):
            with pytest.raises(FencedError, match="another claim"):
                await late
        assert (await queue.succeed(current, RESULT)).state is JobState.SUCCEEDED

    play(scenario)


def test_lost_workers_use_up_the_attempts(play: Play, submit: Submit, until: Until) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue, max_attempts=2)
        for state in (JobState.QUEUED, JobState.DEAD):
            await queue.claim(WorkerOffer("w"))
            [lost] = await until(queue.reap)
            assert lost.state is state
        assert (lost.failure.reason, lost.failure.attempt) == (FailureReason.LOST, 2)
        assert "renew" in lost.failure.message
        assert lost.ended_at_ms is not None
        assert await queue.claim(WorkerOffer("w")) is None

    play(scenario, lease_ttl_s=0.05)


def test_a_job_asked_to_stop_is_cancelled_when_its_worker_is_gone(play: Play, submit: Submit, until: Until) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        await queue.claim(WorkerOffer("w"))
        await queue.cancel("acme", made.id)
        [lost] = await until(queue.reap)
        assert (lost.state, lost.failure.reason) == (JobState.CANCELLED, FailureReason.CANCELLED)
        assert await queue.reap() == []

    play(scenario, lease_ttl_s=0.05)


def test_two_reapers_take_a_job_once(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = [(await submit(queue)).id for _ in range(20)]
        for _ in ids:
            await queue.claim(WorkerOffer("w"))
        raw.zadd(LEASES, dict.fromkeys(ids, 1))
        reaped: list[Job] = [job for jobs in await asyncio.gather(*(queue.reap() for _ in range(4))) for job in jobs]
        assert sorted(job.id for job in reaped) == sorted(ids)

    play(scenario)


def test_a_renewal_and_a_reaper_never_both_win(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        for steps in range(40):
            made = await submit(queue, max_attempts=100)
            claim = await queue.claim(WorkerOffer("w"))
            assert claim is not None
            raw.zadd(LEASES, {made.id: 1})

            async def renew_later(claim: Claim = claim, steps: int = steps) -> bool:
                # The reaper takes three steps; the renewal comes before, between or after them.
                for _ in range(steps % 5):
                    await queue.ping()
                try:
                    return await queue.renew(claim)
                except FencedError:
                    return False

            renewed, reaped = await asyncio.gather(renew_later(), queue.reap())
            assert renewed == (reaped == [])
            await queue.cancel("acme", made.id)
            if renewed:
                await queue.fail(claim, CRASH)

    play(scenario)


def test_a_lease_that_ran_out_unseen_can_still_be_renewed(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        raw.zadd(LEASES, {made.id: 1})
        assert await queue.renew(claim)
        assert await queue.reap() == []

    play(scenario)


def test_after_an_outage_every_lease_is_extended_once(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        gone, soon = [(await submit(queue)).id for _ in range(2)]
        claims = [await queue.claim(WorkerOffer("w")) for _ in range(2)]
        assert await queue.reap() == []

        def outage(minutes: float) -> None:
            raw.set(REAPED, math.floor(raw.time()[0] * 1000 - minutes * 60_000))

        # The server was away for two minutes, twice the lease: nobody could renew.
        now_ms = raw.time()[0] * 1000
        raw.zadd(LEASES, {gone: now_ms - 60_000, soon: now_ms + 1000})
        outage(2)
        assert await queue.reap() == []
        assert lease_ends(raw, gone) >= now_ms + 60_000
        assert lease_ends(raw, soon) >= now_ms + 60_000

        # One worker came back and renewed; the other is really gone. A second outage extends only the first one's.
        assert await queue.renew(claims[1])
        raw.zadd(LEASES, {gone: 1, soon: 1})
        outage(2)
        assert [job.id for job in await queue.reap()] == [gone]
        assert lease_ends(raw, soon) >= now_ms + 60_000

        # Without an outage there is no extension.
        raw.zadd(LEASES, {soon: 1})
        assert [job.id for job in await queue.reap()] == [soon]

    play(scenario, lease_ttl_s=60)
