"""Which job a worker gets: urgency, needs, fair shares; deadlines and delays."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, FencedError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import Failure, Job, JobResult, JobState, Scheduling, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

ANY = WorkerOffer("any", gpus=8, labels=frozenset({"eu", "a100", "x"}))
PLAIN = WorkerOffer("plain")
RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)
DEADLINES = "kdaif:{acme}:deadlines"


async def drain(queue: JobQueue, offer: WorkerOffer) -> list[str]:
    """Ids in the order in which a worker gets them, each finished before the next."""
    got = []
    while (claim := await queue.claim(offer)) is not None:
        got.append(claim.job.id)
        await queue.succeed(claim, RESULT)
    return got


def test_higher_priority_first_then_order_of_submission(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made: dict[int, list[str]] = {}
        for priority in (0, -100, 5, 100, 0, 5, -1):
            needs = ("x",) if priority == 5 else ()  # another line does not change the order
            job = await submit(queue, scheduling=Scheduling(priority=priority, worker_labels=needs))
            made.setdefault(priority, []).append(job.id)
        wanted = [job_id for priority in sorted(made, reverse=True) for job_id in made[priority]]
        assert await drain(queue, ANY) == wanted

    play(scenario)


def test_a_worker_gets_only_what_it_can_run(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        needs = {
            "two gpus": Scheduling(gpus=2, priority=9),
            "labelled": Scheduling(worker_labels=("eu", "a100"), priority=8),
            "both": Scheduling(gpus=1, worker_labels=("eu",), priority=7),
            "plain": Scheduling(),
        }
        name = {(await submit(queue, scheduling=each)).id: key for key, each in needs.items()}
        offers = {
            "plain": PLAIN,
            "labelled": WorkerOffer("l", labels=frozenset({"eu", "a100", "more"})),
            "both": WorkerOffer("b", gpus=1, labels=frozenset({"eu"})),
            "two gpus": WorkerOffer("g", gpus=4),
        }
        for key, offer in offers.items():
            claim = await queue.claim(offer)
            assert claim is not None
            assert name[claim.job.id] == key
            assert await queue.claim(offer) is None

    play(scenario)


def test_many_jobs_that_nobody_may_run_hold_up_nobody(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        for position in range(200):
            await submit(queue, scheduling=Scheduling(gpus=8 + position % 40, priority=100))
        wanted = [(await submit(queue)).id for _ in range(5)]
        raw.config_resetstat()
        assert await drain(queue, PLAIN) == wanted
        # Scripts alone are counted: how long they take depends on the machine, how many reads they make does not.
        reads = raw.info("commandstats")["cmdstat_zrangebylex"]["calls"]
        assert reads <= 5 + 1

    play(scenario)


def test_too_many_different_needs_are_refused(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        raw.hset("kdaif:{acme}:needs", mapping={f"{gpus};": 1 for gpus in range(1, 256)})
        with pytest.raises(FailedPreconditionError, match="256 different"):
            await submit(queue, scheduling=Scheduling(gpus=500), request_id="r")
        assert len((await queue.list("acme", limit=1000))[0]) == 1
        assert (await queue.claim(PLAIN)).job.id == made.id  # it starts, and makes room
        await submit(queue, scheduling=Scheduling(gpus=500), request_id="r")

    play(scenario)


def test_tenants_share_the_workers_evenly(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(6):
            await submit(queue, "big", scheduling=Scheduling(priority=100))
        first = [await queue.claim(PLAIN) for _ in range(3)]
        for _ in range(6):
            await submit(queue, "small")
        # Three of the big tenant run: the small one catches up before they take turns.
        assert [(await queue.claim(PLAIN)).job.tenant for _ in range(3)] == ["small"] * 3
        assert Counter([(await queue.claim(PLAIN)).job.tenant for _ in range(4)]) == {"big": 2, "small": 2}
        for claim in first:
            await queue.succeed(claim, RESULT)
        assert (await queue.claim(PLAIN)).job.tenant == "big"

    play(scenario)


def test_a_tenant_whose_jobs_do_not_fit_loses_its_turn_not_the_worker_s(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue, "gpu", scheduling=Scheduling(gpus=1))
        made = [(await submit(queue, "cpu")).id for _ in range(3)]
        assert [(await queue.claim(PLAIN)).job.id for _ in range(3)] == made
        assert await queue.claim(PLAIN) is None

    play(scenario)


def test_a_lone_tenant_s_claim_asks_once_until_there_is_another(play: Play, submit: Submit, raw: Redis) -> None:
    async def claimed_from(queue: JobQueue) -> tuple[str, int]:
        """Whose job it is, and how often the server was asked, this counting included."""
        before = raw.info("stats")["total_reads_processed"]
        claim = await queue.claim(PLAIN)
        assert claim is not None
        return claim.job.tenant, raw.info("stats")["total_reads_processed"] - before

    async def scenario(queue: JobQueue) -> None:
        for _ in range(4):
            await submit(queue, "acme")
        await queue.ping()  # the connection that is not kept for scripts is there, too
        assert await claimed_from(queue) == ("acme", 3)
        assert await claimed_from(queue) == ("acme", 2)
        await submit(queue, "rival")
        tenant, _ = await claimed_from(queue)
        assert tenant == "rival"  # it has fewer jobs under way

    play(scenario)


def test_a_pause_holds_for_a_worker_that_knows_its_tenant(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(2):
            await submit(queue, "acme")
        assert await queue.claim(PLAIN) is not None
        await queue.announce(PLAIN)
        await queue.pause_worker("plain")
        assert await queue.claim(PLAIN) is None
        await queue.unpause_worker("plain")
        assert await queue.claim(PLAIN) is not None

    play(scenario)


def test_delays_are_drawn_between_half_and_all(play: Play, submit: Submit, raw: Redis) -> None:
    drawn = [0.0, 0.5, 1.0]
    chances = iter(drawn)

    async def scenario(queue: JobQueue) -> None:
        for chance in drawn:
            await submit(queue)
            claim = await queue.claim(PLAIN)
            await queue.fail(claim, CRASH)
            failed_at = (await queue.events("acme", claim.job.id, after_sequence=0))[-1].time_ms
            places = dict(raw.zrange("kdaif:{acme}:delayed", 0, -1, withscores=True))
            [until] = [score for place, score in places.items() if place.endswith(claim.job.id)]
            assert until - failed_at == 5000 * (1 + chance)

    play(scenario, retry_delay_s=10.0, chance=lambda: next(chances))


@pytest.mark.parametrize("where", ["QUEUED", "RUNNING", "AWAITING_REVIEW"])
def test_a_deadline_ends_a_job_wherever_it_is(play: Play, submit: Submit, raw: Redis, where: str) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, scheduling=Scheduling(deadline_s=60))
        assert made.deadline_at_ms == made.created_at_ms + 60_000
        claim = None
        if where != "QUEUED":
            claim = await queue.claim(PLAIN)
            assert 59 < claim.deadline_in_s <= 60
        if where == "AWAITING_REVIEW":
            await queue.await_review(claim, "look")
        assert (await queue.get("acme", made.id)).state == where
        assert await queue.reap() == []
        raw.zadd(DEADLINES, {made.id: 1})
        [over] = await queue.reap()
        assert (over.id, over.state, over.failure.reason) == (made.id, JobState.FAILED, FailureReason.DEADLINE)
        assert await queue.claim(PLAIN) is None
        assert await queue.reap() == []
        if where == "RUNNING":
            for late in (queue.renew(claim), queue.succeed(claim, RESULT)):
                with pytest.raises(FencedError, match="FAILED"):
                    await late
        again = await queue.retry("acme", made.id)
        assert again.deadline_at_ms >= over.ended_at_ms + 60_000

    play(scenario)


def test_an_overdue_job_is_not_started_and_lets_the_next_one_pass(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        late = [(await submit(queue, scheduling=Scheduling(deadline_s=60))).id for _ in range(3)]
        made = await submit(queue)
        raw.zadd(DEADLINES, dict.fromkeys(late, 1))
        assert (await queue.claim(PLAIN)).job.id == made.id
        for job_id in late:
            assert (await queue.get("acme", job_id)).failure.reason is FailureReason.DEADLINE

    play(scenario)


def test_a_deadline_counts_through_waits_and_spares_a_cancel(
    play: Play, submit: Submit, raw: Redis, until: Until
) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, scheduling=Scheduling(deadline_s=60))
        resumed = await queue.resume("acme", (await queue.await_review(await queue.claim(PLAIN), "look")).id)
        assert resumed.deadline_at_ms == made.deadline_at_ms
        claim = await queue.claim(PLAIN)
        await queue.cancel("acme", made.id)
        raw.zadd(DEADLINES, {made.id: 1})
        assert await queue.reap() == []  # its worker still has to say that it stopped
        done: Job = await queue.fail(claim, CRASH)
        assert (done.state, done.failure.reason) == (JobState.CANCELLED, FailureReason.CANCELLED)
        assert raw.zcard(DEADLINES) == 0
        soon = await submit(queue, scheduling=Scheduling(deadline_s=1))
        started = time.monotonic()
        [over] = await until(queue.reap)
        assert over.id == soon.id
        assert time.monotonic() - started > 0.9

    play(scenario)


def test_idle_tenants_cost_nothing_and_none_with_work_is_overlooked(play: Play, submit: Submit, raw: Redis) -> None:
    all_tenants, busy = "kdaif:{:tenants}:all", "kdaif:{:tenants}:busy"

    async def scenario(queue: JobQueue) -> None:
        idle, working, lost = [await submit(queue, tenant) for tenant in ("idle", "working", "lost")]
        await queue.cancel("idle", idle.id)
        for snapshot in await queue.unsaved(9):
            await queue.saved(snapshot.job.tenant, snapshot.job.id, snapshot.version)
        raw.zadd(busy, {"idle": 1, "working": 1})
        raw.zrem(busy, "lost")  # as a process that stood still between two steps would leave it
        await queue.reap()
        assert set(raw.zrange(busy, 0, -1)) == {"working", "lost"}
        assert raw.smembers(all_tenants) == {"idle", "working", "lost"}
        assert {(await queue.claim(PLAIN)).job.id for _ in range(2)} == {working.id, lost.id}
        # What a person asks of an old job is seen at once.
        await queue.retry("idle", idle.id)
        assert (await queue.claim(PLAIN)).job.id == idle.id
        with pytest.raises(NotFoundError):
            await queue.retry("nobody", idle.id)
        assert "nobody" not in raw.smembers(all_tenants)

    play(scenario)
