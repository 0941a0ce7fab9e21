"""Jobs that await a review, and jobs that a worker gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, FencedError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import Failure, JobResult, JobState, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

WORKER = WorkerOffer("w")
RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True, log_tail="Segmentation fault")


def test_a_job_awaits_its_review_and_goes_on(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, max_attempts=1)
        first = await queue.claim(WORKER)
        held = await queue.await_review(first, "weights collapsed")
        assert held == await queue.await_review(first, "weights collapsed")  # an acknowledgement
        assert (held.state, held.failure.reason) == (JobState.AWAITING_REVIEW, FailureReason.REVIEW)
        assert (held.failure.message, held.failure.attempt) == ("weights collapsed", 1)
        assert held.ended_at_ms is None
        for late in (queue.renew(first), queue.succeed(first, RESULT), queue.give_back(first, "late")):
            with pytest.raises(FencedError, match="AWAITING_REVIEW at attempt 1"):
                await late
        assert await queue.claim(WORKER) is None
        assert await queue.reap() == []
        later = await submit(queue)
        assert (await queue.resume("acme", made.id)).state is JobState.QUEUED
        assert (await queue.claim(WORKER)).job.id == later.id
        second = await queue.claim(WORKER)
        assert second.token == 2  # though max_attempts is 1: a person gave it another
        assert (await queue.succeed(second, RESULT)).failure is None
        kinds = [event.kind for event in await queue.events("acme", made.id, after_sequence=0)]
        assert kinds == ["queued", "claimed", "review", "queued", "claimed", "finished"]

    play(scenario)


def test_a_review_ends_in_rejection_or_a_cancel(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for end in ("reject", "cancel"):
            made = await submit(queue)
            for refused in (queue.resume("acme", made.id), queue.reject("acme", made.id, "no")):
                with pytest.raises(FailedPreconditionError, match="QUEUED; only a job that is AWAITING_REVIEW"):
                    await refused
            await queue.await_review(await queue.claim(WORKER), "look")
            with pytest.raises(FailedPreconditionError, match="AWAITING_REVIEW"):
                await queue.retry("acme", made.id)
            if end == "reject":
                done = await queue.reject("acme", made.id, "the canary is dead")
                told = (JobState.FAILED, FailureReason.REVIEW, "the canary is dead")
            else:
                done = await queue.cancel("acme", made.id)
                told = (JobState.CANCELLED, FailureReason.CANCELLED, "Cancelled on request while it waited.")
            assert (done.state, done.failure.reason, done.failure.message) == told
            assert done.ended_at_ms is not None
        for missing in (queue.resume("acme", "0" * 26), queue.reject("acme", "0" * 26, "no")):
            with pytest.raises(NotFoundError):
                await missing

    play(scenario)


@pytest.mark.parametrize("how", ["await_review", "give_back"])
def test_a_job_asked_to_stop_is_cancelled_instead(play: Play, submit: Submit, how: str) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WORKER)
        await queue.cancel("acme", made.id)
        assert (await getattr(queue, how)(claim, "why")).state is JobState.CANCELLED

    play(scenario)


def test_giving_back_costs_no_attempt_and_no_place(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, max_attempts=2)
        await submit(queue)
        for token in (1, 2, 3):
            claim = await queue.claim(WORKER)
            assert (claim.job.id, claim.token) == (made.id, token)
            back = await queue.give_back(claim, "the worker was stopped")
            assert back == await queue.give_back(claim, "the worker was stopped")  # an acknowledgement
            assert (back.state, back.failure) == (JobState.QUEUED, None)
            with pytest.raises(FencedError):
                await queue.renew(claim)
        told = (await queue.events("acme", made.id, after_sequence=0))[-1]
        assert (told.kind, told.failure.message, told.failure.attempt) == ("requeued", "the worker was stopped", 3)
        for state in (JobState.QUEUED, JobState.DEAD):
            assert (await queue.fail(await queue.claim(WORKER), CRASH)).state is state

    # Others wait longer than the test lasts; what was given back does not wait.
    play(scenario, retry_delay_s=0.0)


def test_what_was_given_back_does_not_wait(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        await queue.give_back(await queue.claim(WORKER), "stopped")
        assert (await queue.claim(WORKER)).job.id == made.id

    play(scenario, retry_delay_s=60.0)


def test_a_dead_job_keeps_its_reason_and_the_end_of_its_log(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, max_attempts=1)
        long = Failure(FailureReason.CRASHED, "exit code 139", True, log_tail="x" * 100_000 + 'é"\nlast words')
        dead = await queue.fail(await queue.claim(WORKER), long)
        assert (dead.state, dead.failure.reason) == (JobState.DEAD, FailureReason.CRASHED)
        assert dead.failure.log_tail.endswith('xé"\nlast words')
        assert len(dead.failure.log_tail) == 8192
        assert (await queue.get("acme", made.id)).failure == dead.failure
        assert (await queue.retry("acme", made.id)).failure == dead.failure  # kept until it succeeds

    play(scenario)


def test_q8_what_a_crash_left_behind_moves_no_ended_job(play: Play, submit: Submit, raw: Redis) -> None:
    """Q8: a lease or a deadline that outlived its job, as a crash between two steps would leave it, ends nothing."""

    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        done = await queue.succeed(await queue.claim(WORKER), RESULT)
        raw.zadd("kdaif:{acme}:leases", {made.id: 1})
        raw.zadd("kdaif:{acme}:deadlines", {made.id: 1})
        assert await queue.reap() == []
        assert await queue.get("acme", made.id) == done
        assert raw.zcard("kdaif:{acme}:leases") == raw.zcard("kdaif:{acme}:deadlines") == 0

    play(scenario)
