"""What the archive is told, deleting, and coming back into an empty Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from pydantic import TypeAdapter
from pydantic_core import to_json
from redis import Redis

from kdaif.errors import AlreadyExistsError, FailedPreconditionError, FailureReason, FencedError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, Failure, JobResult, JobSnapshot, JobState, Progress, Scheduling, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

WORKER = WorkerOffer("w")
RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)
SNAPSHOT = TypeAdapter(JobSnapshot)


async def save_all(queue: JobQueue) -> list[tuple[str, JobState]]:
    due = await queue.unsaved(1000)
    for snapshot in due:
        await queue.saved(snapshot.job.tenant, snapshot.job.id, snapshot.version)
    return sorted((snapshot.job.id, snapshot.job.state) for snapshot in due)


def test_the_archive_is_due_at_every_step_that_must_not_be_forgotten(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        other = await submit(queue, "other")
        assert await save_all(queue) == sorted([(made.id, JobState.QUEUED), (other.id, JobState.QUEUED)])
        assert await queue.unsaved(10) == []
        claim = await queue.claim(WORKER)
        await queue.fail(claim, CRASH)
        await queue.give_back(await queue.claim(WORKER), "stopped")
        assert await queue.unsaved(10) == []  # under way, nothing is settled
        claim = await queue.claim(WORKER)
        job = claim.job
        await queue.await_review(claim, "look")
        assert await save_all(queue) == [(job.id, JobState.AWAITING_REVIEW)]
        await queue.resume(job.tenant, job.id)
        assert await save_all(queue) == [(job.id, JobState.QUEUED)]
        await queue.cancel(job.tenant, job.id)
        assert await save_all(queue) == [(job.id, JobState.CANCELLED)]
        await queue.retry(job.tenant, job.id)
        assert await save_all(queue) == [(job.id, JobState.QUEUED)]

    play(scenario)


def test_a_job_that_changed_while_it_was_written_stays_due(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        [before] = await queue.unsaved(10)
        await queue.cancel("acme", made.id)
        [after] = await queue.unsaved(10)
        assert after.version > before.version
        await queue.saved("acme", made.id, before.version)
        assert await queue.unsaved(10) == [after]
        await queue.saved("acme", made.id, after.version)
        assert await queue.unsaved(10) == []

    play(scenario)


def test_the_archive_is_told_of_some_jobs_at_a_time(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = {(await submit(queue, tenant)).id for tenant in ("a", "b") for _ in range(15)}
        seen = set()
        while found := await queue.unsaved(4):
            assert len(found) <= 4
            for snapshot in found:
                await queue.saved(snapshot.job.tenant, snapshot.job.id, snapshot.version)
                seen.add(snapshot.job.id)
        assert seen == ids

    play(scenario)


def test_jobs_come_back_into_an_empty_redis(play: Play, submit: Submit, raw: Redis, spec: DistillationSpec) -> None:
    async def scenario(queue: JobQueue) -> None:
        deadline = Scheduling(deadline_s=3600, priority=7)
        queued = await submit(queue, request_id="r1", max_attempts=2)
        urgent = await submit(queue, scheduling=deadline)
        running = await queue.claim(WORKER)
        assert running.job.id == urgent.id
        await queue.publish(running, "progress", Progress("load", 0.1))
        done = await submit(queue, scheduling=Scheduling(priority=9))
        done = await queue.succeed(await queue.claim(WORKER), JobResult(1, (), "v", float("nan")))
        held = await submit(queue, scheduling=Scheduling(priority=9))
        held = await queue.await_review(await queue.claim(WORKER), "look")
        stopping = await submit(queue, scheduling=Scheduling(priority=9))
        await queue.claim(WORKER)
        await queue.cancel("acme", stopping.id)

        saved = sorted(await queue.unsaved(10), key=lambda snapshot: snapshot.job.id)
        texts = [to_json(snapshot, inf_nan_mode="constants") for snapshot in saved]
        raw.flushall()
        for text in texts:
            assert await queue.restore(SNAPSHOT.validate_json(text)) is True
        for text in texts:
            assert await queue.restore(SNAPSHOT.validate_json(text)) is False

        assert await queue.get("acme", queued.id) == queued
        assert (await queue.get("acme", urgent.id)).state is JobState.QUEUED
        assert (await queue.get("acme", urgent.id)).deadline_at_ms == urgent.deadline_at_ms
        assert (await queue.get("acme", stopping.id)).state is JobState.CANCELLED
        assert await queue.get("acme", held.id) == held
        assert (await queue.get("acme", done.id)).ended_at_ms == done.ended_at_ms
        assert {job.id for job in (await queue.list("acme", limit=10))[0]} == {snapshot.job.id for snapshot in saved}
        # A request that is sent again finds its job, and a changed one is refused.
        again = await submit(queue, request_id="r1", max_attempts=2)
        assert again.id == queued.id
        with pytest.raises(AlreadyExistsError):
            await submit(queue, request_id="r1", max_attempts=3)
        # The worker of before may still be at it: its token is never given out again.
        claim = await queue.claim(WORKER)
        assert claim.job.id == urgent.id
        assert claim.token > running.token
        with pytest.raises(FencedError):
            await queue.succeed(running, RESULT)
        await queue.succeed(claim, RESULT)
        # Nor is a version, under which a server of before may still be writing.
        [again] = [snapshot for snapshot in await queue.unsaved(10) if snapshot.job.id == urgent.id]
        assert again.version == 1002
        # The jump is no attempt that counts.
        for state in (JobState.QUEUED, JobState.DEAD):
            assert (await queue.fail(await queue.claim(WORKER), CRASH)).state is state
        assert (await queue.resume("acme", held.id)).state is JobState.QUEUED
        assert await queue.ended_before(done.ended_at_ms + 1, 10) == [("acme", done.id)]

    play(scenario)


def test_two_rebuilds_never_give_out_one_token(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        await submit(queue)
        tokens = []
        for _ in range(3):
            claim = await queue.claim(WORKER)  # of which the archive hears nothing
            tokens.append(claim.token)
            [snapshot] = await queue.unsaved(10)
            raw.flushall()
            assert await queue.restore(snapshot)
        assert tokens == [1, 1001, 2001]

    play(scenario)


def test_only_ended_jobs_are_deleted_and_nothing_of_them_stays(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        kept = await submit(queue)
        [kept_snapshot] = await queue.unsaved(10)
        before = set(raw.keys("*"))
        made = await submit(queue, request_id="r1", scheduling=Scheduling(priority=1))
        for state in ("QUEUED", "RUNNING", "AWAITING_REVIEW"):
            with pytest.raises(FailedPreconditionError, match=f"{state}; only a job that is SUCCEEDED, FAILED"):
                await queue.delete("acme", made.id)
            if state == "QUEUED":
                claim = await queue.claim(WORKER)
            if state == "RUNNING":
                await queue.await_review(claim, "look")
        await queue.reject("acme", made.id, "no")
        [snapshot] = [each for each in await queue.unsaved(10) if each.job.id == made.id]
        await queue.delete("acme", made.id)
        for ask in (queue.get("acme", made.id), queue.delete("acme", made.id)):
            with pytest.raises(NotFoundError):
                await ask
        assert await queue.unsaved(10) == [kept_snapshot]
        assert [job.id for job in (await queue.list("acme", limit=10))[0]] == [kept.id]
        # Until its blobs are gone, the archive may not bring it back.
        assert await queue.deleted(10) == [("acme", made.id)]
        assert await queue.restore(snapshot) is False
        await queue.erased("acme", made.id)
        assert await queue.deleted(10) == []
        assert set(raw.keys("*")) == before
        assert (await submit(queue, request_id="r1")).id != made.id

    play(scenario)


def test_old_jobs_are_named_the_oldest_first(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = [(await submit(queue)).id for _ in range(4)]
        for job_id in ids[:3]:
            await queue.cancel("acme", job_id)
        raw.zadd("kdaif:{acme}:ended", {ids[0]: 3000, ids[1]: 1000, ids[2]: 2000})
        assert await queue.ended_before(3000, 10) == [("acme", ids[1]), ("acme", ids[2])]
        assert await queue.ended_before(9000, 2) == [("acme", ids[1]), ("acme", ids[2])]
        await queue.retry("acme", ids[1])
        assert await queue.ended_before(9000, 10) == [("acme", ids[2]), ("acme", ids[0])]

    play(scenario)
