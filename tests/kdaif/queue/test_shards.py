"""Shards of a scoring: claimed by anybody, worked on by their job, retried alone, and gone with the attempt."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailureReason, FencedError, NotFoundError
from kdaif.queue import Claim, JobQueue, Measurements
from kdaif.records import Failure, Job, JobResult, JobState, Scheduling, Shard, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)
GONE = Failure(FailureReason.STORAGE, "the file is damaged", retryable=False)
RELEASE = "1.2-torch-3"
PARENT, OTHER = WorkerOffer("parent"), WorkerOffer("other")


def shards_of(job: Job, count: int) -> list[Shard]:
    return [Shard(job.id, n, count, 10 * (n - 1), 10 * n, "ab" * 32, "cd" * 32) for n in range(1, count + 1)]


async def cut(queue: JobQueue, submit: Submit, count: int = 3, **spec: Any) -> tuple[Claim, list[Shard]]:
    """A job under way that has cut its scoring."""
    await submit(queue, **spec)
    claim = await queue.claim(PARENT)
    assert claim is not None
    shards = shards_of(claim.job, count)
    await resubmit(queue, claim, shards)
    return claim, shards


async def resubmit(queue: JobQueue, claim: Claim, shards: list[Shard], cut: int = 1) -> None:
    await queue.shards.submit(claim, shards, cut=cut, release=RELEASE)


async def taken(queue: JobQueue, offer: WorkerOffer = OTHER) -> Claim:
    claim = await queue.claim(offer, shards_of=RELEASE)
    assert claim is not None
    return claim


def kept(raw: Redis) -> set[str]:
    """What is left of shards in any key."""
    texts = set()
    for key in raw.keys("kdaif:{acme}:*"):
        if key.endswith(":shards") or "-abab" in key:
            texts.add(key)
        kind = raw.type(key)
        members: Any = raw.zrange(key, 0, -1) if kind == "zset" else raw.hgetall(key) if kind == "hash" else ()
        texts |= {f"{key} {member}" for member in members if "-abab" in member or "kdaif/shards" in member}
        if kind == "hash" and ":claims" in key:
            texts |= {f"{key} {member}" for member in raw.hvals(key) if "-abab" in member}
    return texts


def test_shards_are_scored_by_whoever_is_free_and_by_their_job(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit)
        await resubmit(queue, claim, shards)  # a lost reply
        behind = await submit(queue)
        assert (await queue.list("acme", limit=10))[0] == [behind, await queue.get("acme", claim.job.id)]
        first = await taken(queue)  # ahead of what was submitted after their job
        assert first.job.shard == shards[0]
        assert first.job.spec.scheduling == claim.job.spec.scheduling
        assert (first.job.display_name, first.job.max_attempts) == (claim.job.display_name, claim.job.max_attempts)
        standing = await queue.shards.work(claim, "parent")
        assert (standing.to_score, standing.scored, standing.total) == (shards[1], 0, 3)
        assert standing == await queue.shards.work(claim, "parent")  # a lost reply
        standing = await queue.shards.work(claim, "parent", shards[1])
        assert (standing.to_score, standing.scored) == (shards[2], 1)
        standing = await queue.shards.work(claim, "parent", shards[2])
        assert (standing.to_score, standing.scored, standing.is_over) == (None, 2, False)
        assert (await queue.succeed(first, None)).state is JobState.SUCCEEDED
        standing = await queue.shards.work(claim, "parent")
        assert standing.is_over
        assert standing.tried_again == ()
        assert standing.failed is None
        assert kept(raw) == set()
        assert (await queue.shards.work(claim, "parent")).is_over
        assert await queue.unsaved(10) != []
        assert {snapshot.job.id for snapshot in await queue.unsaved(10)} == {claim.job.id, behind.id}
        assert (await queue.succeed(claim, RESULT)).attempt == 1

    play(scenario)


def test_a_shard_whose_worker_died_is_retried_alone(play: Play, submit: Submit, until: Until, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit)
        await taken(queue)

        async def reaped() -> bool:
            assert await queue.renew(claim)
            return bool(await queue.reap())

        await until(reaped)
        again = await taken(queue)
        assert (again.job.shard, again.token) == (shards[0], 2)
        await queue.succeed(again, None)
        standing = await queue.shards.work(claim, "parent")
        for shard in shards[1:]:
            assert standing.to_score == shard
            standing = await queue.shards.work(claim, "parent", shard)
        assert standing.is_over
        assert standing.tried_again == ((shards[0], 2),)
        assert (await queue.get("acme", claim.job.id)).attempt == 1

    play(scenario, lease_ttl_s=0.4)


def test_a_shard_given_back_does_not_count_as_tried(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit, 1)
        await queue.give_back(await taken(queue), "the worker was stopped")
        assert (await queue.shards.work(claim, "parent")).to_score == shards[0]
        standing = await queue.shards.work(claim, "parent", shards[0])
        assert standing.is_over
        assert standing.tried_again == ()

    play(scenario)


def test_a_job_does_not_take_a_shard_before_its_delay(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, _ = await cut(queue, submit, 1)
        await queue.fail(await taken(queue), CRASH)
        standing = await queue.shards.work(claim, "parent")
        assert standing.to_score is None
        assert not standing.is_over

    play(scenario, retry_delay_s=60.0)


@pytest.mark.parametrize("failure", [CRASH, GONE])
def test_a_shard_that_failed_for_good_is_told(play: Play, submit: Submit, raw: Redis, failure: Failure) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit, max_attempts=2)
        for _ in range(2 if failure.retryable else 1):
            await queue.fail(await taken(queue), failure)
        standing = await queue.shards.work(claim, "parent")
        assert standing.to_score is None
        assert standing.failed is not None
        shard, why = standing.failed
        assert (shard, why.message) == (shards[0], failure.message)
        await queue.fail(claim, GONE)
        assert kept(raw) == set()
        # Nothing of it is for the archive or for retention.
        assert {snapshot.job.id for snapshot in await queue.unsaved(10)} == {claim.job.id}
        assert await queue.ended_before(10**15, 10) == [("acme", claim.job.id)]

    play(scenario)


async def _cancelled(queue: JobQueue, claim: Claim, until: Until) -> None:
    await queue.cancel("acme", claim.job.id)
    await queue.fail(claim, CRASH)


async def _succeeded(queue: JobQueue, claim: Claim, until: Until) -> None:
    await queue.succeed(claim, RESULT)


async def _failed(queue: JobQueue, claim: Claim, until: Until) -> None:
    await queue.fail(claim, CRASH)


async def _given_back(queue: JobQueue, claim: Claim, until: Until) -> None:
    await queue.give_back(claim, "the worker was stopped")


async def _reviewed(queue: JobQueue, claim: Claim, until: Until) -> None:
    await queue.await_review(claim, "look")


async def _reaped(queue: JobQueue, claim: Claim, until: Until) -> None:
    async def job_is_reaped() -> bool:
        return claim.job.id in [job.id for job in await queue.reap()]

    await until(job_is_reaped)


async def _overdue(queue: JobQueue, claim: Claim, until: Until) -> None:
    async def job_failed() -> bool:
        await queue.renew(claim)
        await queue.reap()
        return (await queue.get("acme", claim.job.id)).state is JobState.FAILED

    with contextlib.suppress(FencedError):
        await until(job_failed)


@pytest.mark.parametrize("end", [_cancelled, _succeeded, _failed, _given_back, _reviewed, _reaped, _overdue])
def test_however_an_attempt_ends_it_leaves_no_shard(
    play: Play,
    submit: Submit,
    until: Until,
    raw: Redis,
    end: Callable[[JobQueue, Claim, Until], Awaitable[None]],
) -> None:
    async def scenario(queue: JobQueue) -> None:
        spec = {"scheduling": Scheduling(deadline_s=1)} if end is _overdue else {}
        claim, shards = await cut(queue, submit, 4, **spec)
        at_work, failed = await taken(queue), await taken(queue, WorkerOffer("third"))
        await queue.fail(failed, CRASH)  # waits out its delay
        assert (await queue.shards.work(claim, "parent")).to_score == shards[2]
        assert kept(raw) != set()
        await end(queue, claim, until)
        assert kept(raw) == set()
        with pytest.raises(NotFoundError):
            await queue.renew(at_work)
        with pytest.raises(FencedError):
            await queue.shards.work(claim, "parent")
        with pytest.raises(FencedError):
            await resubmit(queue, claim, shards)

    play(scenario, lease_ttl_s=0.5 if end is _reaped else 30.0, retry_delay_s=0.5)


def test_a_worker_of_another_release_gets_none_and_needs_are_those_of_the_job(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue, scheduling=Scheduling(gpus=1, worker_labels=("eu",)))
        suited = WorkerOffer("w", 1, frozenset({"eu"}))
        claim = await queue.claim(suited)
        assert claim is not None
        await resubmit(queue, claim, shards_of(claim.job, 1))
        assert await queue.claim(suited) is None
        assert await queue.claim(suited, shards_of="1.3-torch-3") is None
        assert await queue.claim(OTHER, shards_of=RELEASE) is None
        assert (await taken(queue, suited)).job.shard is not None

    play(scenario)


def test_a_cancelled_job_frees_those_who_score_for_it_at_once(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit)
        at_work = await taken(queue)
        await queue.cancel("acme", claim.job.id)  # its worker may be gone
        assert kept(raw) == set()
        with pytest.raises(NotFoundError):
            await queue.renew(at_work)
        await resubmit(queue, claim, shards, cut=2)
        assert kept(raw) == set()
        assert (await queue.fail(claim, CRASH)).state is JobState.CANCELLED

    play(scenario)


def test_a_cut_that_arrives_when_its_shards_are_over_queues_nothing(play: Play, submit: Submit, raw: Redis) -> None:
    async def scored(queue: JobQueue, claim: Claim) -> None:
        standing = await queue.shards.work(claim, "parent")
        while not standing.is_over:
            standing = await queue.shards.work(claim, "parent", standing.to_score)

    async def scenario(queue: JobQueue) -> None:
        claim, shards = await cut(queue, submit)
        await scored(queue, claim)
        await resubmit(queue, claim, shards)  # came late
        assert kept(raw) == set()
        await resubmit(queue, claim, shards[1:2], cut=2)  # whose scores were lost
        assert (await queue.shards.work(claim, "parent")).to_score == shards[1]
        await scored(queue, claim)
        for late in (1, 2):
            await resubmit(queue, claim, shards, cut=late)
        assert kept(raw) == set()
        await queue.fail(claim, CRASH)
        again = await queue.claim(PARENT)
        assert again is not None
        await resubmit(queue, again, shards)
        assert (await queue.shards.work(again, "parent")).total == 3

    play(scenario)


def test_people_do_not_see_shards(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        await cut(queue, submit)
        shard = (await taken(queue)).job
        for ask in (queue.get, queue.cancel, queue.delete, queue.retry):
            with pytest.raises(NotFoundError):
                await ask("acme", shard.id)

    play(scenario)


def test_shards_in_line_are_counted_and_nobody_is_called_for_them(play: Play, submit: Submit, url: str) -> None:
    async def scenario(queue: JobQueue) -> None:
        await cut(queue, submit)
        measurements = Measurements(url)
        try:
            [tenant] = (await measurements.look()).tenants
        finally:
            await measurements.close()
        assert (tenant.queued, tenant.running) == (3, 1)
        assert [line.needs for line in tenant.lines] == [Scheduling()]
        # Where no other worker knows of shards, their job scores them.
        assert tenant.unserved_s([OTHER]) == 0

    play(scenario)
