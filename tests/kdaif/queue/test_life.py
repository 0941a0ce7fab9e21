"""The transitions of a job, one by one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, FencedError, InvalidInputError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import (
    ArmResult,
    DistillationSpec,
    Failure,
    Finding,
    JobResult,
    JobState,
    PreflightReport,
    Progress,
    Severity,
    WorkerOffer,
)

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

RESULT = JobResult(1, (ArmResult("uniform", 0.9, 0.9, (0.9, 0.9)),), "no difference", 12.5)
CRASH = Failure(FailureReason.CRASHED, 'exit code 139 "segfault" /bin/é', retryable=True)
BAD_DATA = Failure(FailureReason.INVALID_DATA, "column 3 is constant", retryable=False)
DEADLINE = Failure(FailureReason.DEADLINE, "ran longer than max_runtime_s = 5", retryable=False)


def test_a_job_comes_back_as_it_was_submitted(play: Play, spec: DistillationSpec) -> None:
    report = PreflightReport((Finding(Severity.WARNING, "OVERLAP", "spec.unlabeled", "3 rows", 3, ("1", "é")),))

    async def scenario(queue: JobQueue) -> None:
        made = await queue.submit("acme", spec, report, request_id="r", display_name="näme")
        assert made == await queue.get("acme", made.id)
        assert (made.spec, made.preflight, made.display_name) == (spec, report, "näme")
        assert (made.state, made.attempt, made.max_attempts) == (JobState.QUEUED, 0, spec.max_attempts)
        assert len(made.id) == 26
        assert made.id == made.id.lower()

    play(scenario)


def test_claim_then_succeed(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w1"))
        assert claim is not None
        assert (claim.job.id, claim.token, claim.job.attempt) == (made.id, 1, 1)
        assert claim.job.state is JobState.RUNNING
        assert claim.lease_expires_ms == pytest.approx(claim.job.started_at_ms + 60_000, abs=1)
        assert await queue.claim(WorkerOffer("w2")) is None
        done = await queue.succeed(claim, RESULT)
        assert (done.state, done.result) == (JobState.SUCCEEDED, RESULT)
        assert done.ended_at_ms >= done.started_at_ms
        assert done.failure is None

    play(scenario)


def test_figures_that_are_not_finite_stay_readable(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        await queue.publish(claim, "round", Progress("rounds", 0.5), {"loss": math.nan, "gain": math.inf})
        result = JobResult(1, (ArmResult("uniform", math.nan, 0.9, (0.9,)),), "-", 1.0)
        assert math.isnan((await queue.succeed(claim, result)).result.arms[0].accuracy)
        event = (await queue.events("acme", made.id, after_sequence=2))[0]
        assert math.isnan(event.metrics["loss"])
        assert event.metrics["gain"] == math.inf

    play(scenario)


def test_first_in_line_is_first_out(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = [(await submit(queue)).id for _ in range(5)]
        assert [(await queue.claim(WorkerOffer("w"))).job.id for _ in range(5)] == ids

    play(scenario)


def test_tenants_take_turns(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(6):
            await submit(queue, "big")
        for tenant in ("small", "tiny"):
            await submit(queue, tenant)
        served = [(await queue.claim(WorkerOffer("w"))).job.tenant for _ in range(3)]
        assert sorted(served) == ["big", "small", "tiny"]
        assert [(await queue.claim(WorkerOffer("w"))).job.tenant for _ in range(5)] == ["big"] * 5
        assert await queue.claim(WorkerOffer("w")) is None

    play(scenario)


def test_q8_terminal_is_final(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        done = await queue.succeed(claim, RESULT)
        assert await queue.succeed(claim, RESULT) == done  # the same call again: an acknowledgement
        for refused in (queue.fail(claim, CRASH), queue.renew(claim), queue.publish(claim, "progress")):
            with pytest.raises(FencedError, match="SUCCEEDED at attempt 1"):
                await refused
        for refused in (queue.cancel("acme", made.id), queue.retry("acme", made.id)):
            with pytest.raises(FailedPreconditionError, match="SUCCEEDED"):
                await refused
        assert await queue.reap() == []
        assert await queue.get("acme", made.id) == done

    play(scenario)


@pytest.mark.parametrize("failure", [BAD_DATA, DEADLINE])
def test_q5_a_failure_that_is_not_retryable_keeps_its_reason(play: Play, submit: Submit, failure: Failure) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        failed = await queue.fail(claim, failure)
        assert failed.state is JobState.FAILED
        assert failed.failure == Failure(failure.reason, failure.message, False, attempt=1)
        assert await queue.fail(claim, failure) == failed
        with pytest.raises(FencedError):
            await queue.succeed(claim, RESULT)
        with pytest.raises(FailedPreconditionError, match="FAILED"):
            await queue.cancel("acme", failed.id)

    play(scenario)


def test_a_retryable_failure_runs_again_until_the_attempts_are_used(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue, max_attempts=2)
        first = await queue.claim(WorkerOffer("w"))
        again = await queue.fail(first, CRASH)
        assert again.state is JobState.QUEUED
        assert (again.failure.reason, again.failure.message, again.failure.attempt) == (CRASH.reason, CRASH.message, 1)
        assert await queue.fail(first, CRASH) == again  # the reply was lost, the call repeated
        second = await queue.claim(WorkerOffer("w"))
        assert second.token == 2
        with pytest.raises(FencedError, match="RUNNING at attempt 2"):
            await queue.publish(first, "progress")
        dead = await queue.fail(second, CRASH)
        assert dead.state is JobState.DEAD
        assert dead.failure.attempt == 2
        assert await queue.claim(WorkerOffer("w")) is None

    play(scenario)


def test_a_job_waits_longer_before_each_attempt(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue, max_attempts=9)
        delays = []
        for _ in range(7):
            claim = await queue.claim(WorkerOffer("w"))
            await queue.fail(claim, CRASH)
            assert await queue.claim(WorkerOffer("w")) is None
            failed_at = (await queue.events("acme", claim.job.id, after_sequence=0))[-1].time_ms
            [(place, until)] = raw.zrange("kdaif:{acme}:delayed", 0, -1, withscores=True)
            delays.append(until - failed_at)
            raw.zadd("kdaif:{acme}:delayed", {place: 0})
        assert delays == [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]

    play(scenario, retry_delay_s=2.0, chance=lambda: 1.0)


def test_a_delayed_job_lets_others_pass_and_keeps_its_place(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        first = await submit(queue)
        others = [await submit(queue) for _ in range(2)]
        claim = await queue.claim(WorkerOffer("w"))
        await queue.fail(claim, CRASH)
        assert (await queue.claim(WorkerOffer("w"))).job.id == others[0].id
        [place] = raw.zrange("kdaif:{acme}:delayed", 0, -1)
        raw.zadd("kdaif:{acme}:delayed", {place: 0})
        assert (await queue.claim(WorkerOffer("w"))).job.id == first.id

    play(scenario, retry_delay_s=60.0)


def test_cancel_while_queued(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        cancelled = await queue.cancel("acme", made.id)
        assert cancelled.state is JobState.CANCELLED
        assert cancelled.failure.reason is FailureReason.CANCELLED
        assert cancelled.ended_at_ms is not None
        assert await queue.cancel("acme", made.id) == cancelled
        assert await queue.claim(WorkerOffer("w")) is None

    play(scenario)


@pytest.mark.parametrize("how", ["fail", "succeed"])
def test_cancel_while_running(play: Play, submit: Submit, how: str) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        assert await queue.renew(claim) is True
        assert (await queue.cancel("acme", made.id)).state is JobState.CANCELLING
        assert (await queue.cancel("acme", made.id)).state is JobState.CANCELLING
        assert await queue.renew(claim) is False
        await queue.publish(claim, "progress", Progress("stopping", 0.5))
        done = await (queue.fail(claim, CRASH) if how == "fail" else queue.succeed(claim, RESULT))
        assert done.state is JobState.CANCELLED
        assert (done.failure.reason, done.failure.attempt) == (FailureReason.CANCELLED, 1)
        assert done.result is None
        assert await queue.claim(WorkerOffer("w")) is None
        assert await queue.cancel("acme", made.id) == done

    play(scenario)


@pytest.mark.parametrize("end", ["FAILED", "DEAD", "CANCELLED"])
def test_retry_gives_all_attempts_again_and_never_an_old_token(play: Play, submit: Submit, end: str) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, max_attempts=2)
        if end == "FAILED":
            await queue.fail(await queue.claim(WorkerOffer("w")), BAD_DATA)
        if end == "CANCELLED":
            claim = await queue.claim(WorkerOffer("w"))
            await queue.cancel("acme", made.id)
            await queue.fail(claim, CRASH)
        if end == "DEAD":
            for _ in range(2):
                await queue.fail(await queue.claim(WorkerOffer("w")), CRASH)
        before = await queue.get("acme", made.id)
        assert before.state is JobState[end]
        later = await submit(queue)
        again = await queue.retry("acme", made.id)
        assert (again.state, again.ended_at_ms, again.attempt) == (JobState.QUEUED, None, before.attempt)
        assert again.failure == before.failure
        with pytest.raises(FailedPreconditionError, match="QUEUED"):
            await queue.retry("acme", made.id)
        assert (await queue.claim(WorkerOffer("w"))).job.id == later.id  # a retry goes to the end of the line
        for used in (1, 2):
            claim = await queue.claim(WorkerOffer("w"))
            assert claim.token == before.attempt + used
            job = await queue.fail(claim, CRASH)
            assert job.state is (JobState.QUEUED if used == 1 else JobState.DEAD)

    play(scenario)


def test_success_after_a_failure_leaves_no_failure_on_the_job(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        first = await queue.claim(WorkerOffer("w"))
        await queue.fail(first, CRASH)
        second = await queue.claim(WorkerOffer("w"))
        assert second.job.failure is not None
        assert second.job.started_at_ms == first.job.started_at_ms
        assert (await queue.succeed(second, RESULT)).failure is None
        failures = [event.failure for event in await queue.events("acme", made.id, after_sequence=0)]
        assert [failure.reason for failure in failures if failure] == [FailureReason.CRASHED]

    play(scenario)


def test_unknown_jobs_and_names(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        missing = "0" * 26
        for ask in (
            queue.get("acme", missing),
            queue.get("acme", "no-such-job"),
            queue.get("other", made.id),
            queue.cancel("acme", missing),
            queue.retry("acme", missing),
            queue.events("acme", missing, after_sequence=0),
            queue.wait_events("acme", missing, after_sequence=0, timeout_s=5),
        ):
            with pytest.raises(NotFoundError):
                await ask
        for tenant in ("", "a}b", "{", "a b"):
            with pytest.raises(InvalidInputError, match="tenant"):
                await submit(queue, tenant)
        claim = await queue.claim(WorkerOffer("w"))
        for kind in ("", "finished"):
            with pytest.raises(InvalidInputError, match="kind"):
                await queue.publish(claim, kind)

    play(scenario)


def test_eight_claimers_never_get_one_job_twice(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = {(await submit(queue, tenant)).id for tenant in ("a", "b") for _ in range(40)}

        async def worker(name: str) -> list[str]:
            got = []
            while (claim := await queue.claim(WorkerOffer(name))) is not None:
                got.append(claim.job.id)
            return got

        got = [job for jobs in await asyncio.gather(*(worker(f"w{i}") for i in range(8))) for job in jobs]
        assert sorted(got) == sorted(ids)

    play(scenario)
