"""The events of a job: gapless, readable from anywhere, and waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from kdaif.errors import FailureReason
from kdaif.queue import JobQueue
from kdaif.queue.connection import MAX_CONNECTIONS
from kdaif.queue.event_log import MAX_WAITERS
from kdaif.records import Failure, JobEvent, JobResult, JobState, Progress, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)


def test_every_transition_writes_one_event(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        progress = Progress("rounds", 0.25, "influence", 1, 4, "round 1 of 4")
        await queue.publish(claim, "progress", progress)
        await queue.publish(claim, "round", metrics={"loss": 0.5, "accuracy": 1.0})
        assert (await queue.get("acme", made.id)).progress == progress
        await queue.fail(claim, CRASH)
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        await queue.cancel("acme", made.id)
        await queue.fail(claim, CRASH)
        await queue.retry("acme", made.id)
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        await queue.succeed(claim, RESULT)

        events = await queue.events("acme", made.id, after_sequence=0)
        assert [(event.kind, event.state.value, event.attempt) for event in events] == [
            ("queued", "QUEUED", 0),
            ("claimed", "RUNNING", 1),
            ("progress", "RUNNING", 1),
            ("round", "RUNNING", 1),
            ("requeued", "QUEUED", 1),
            ("claimed", "RUNNING", 2),
            ("cancelling", "CANCELLING", 2),
            ("finished", "CANCELLED", 2),
            ("queued", "QUEUED", 2),
            ("claimed", "RUNNING", 3),
            ("finished", "SUCCEEDED", 3),
        ]
        assert [event.sequence for event in events] == list(range(1, 12))
        assert [event.time_ms for event in events] == sorted(event.time_ms for event in events)
        assert (events[2].progress, events[3].metrics) == (progress, {"loss": 0.5, "accuracy": 1.0})
        assert [event.failure.reason.value for event in events if event.failure] == ["CRASHED", "CANCELLED"]
        assert await queue.events("acme", made.id, after_sequence=9) == events[9:]
        assert await queue.events("acme", made.id, after_sequence=3, limit=2) == events[3:5]
        assert await queue.events("acme", made.id, after_sequence=11) == []

    play(scenario)


def test_concurrent_writers_leave_no_gap(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        await asyncio.gather(*(queue.publish(claim, "progress", Progress("s", i / 50)) for i in range(50)))
        events = await queue.events("acme", made.id, after_sequence=0)
        assert [event.sequence for event in events] == list(range(1, 53))

    play(scenario)


def test_a_watcher_sees_everything_as_it_happens(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        seen: list[JobEvent] = []

        async def watch() -> None:
            while not (seen and seen[-1].kind == "finished"):
                after = seen[-1].sequence if seen else 0
                seen.extend(await queue.wait_events("acme", made.id, after_sequence=after, timeout_s=30))

        watcher = asyncio.create_task(watch())
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        for i in range(10):
            await queue.publish(claim, "progress", Progress("s", i / 10))
        await queue.succeed(claim, RESULT)
        await asyncio.wait_for(watcher, 20)
        assert seen == await queue.events("acme", made.id, after_sequence=0)

    play(scenario)


@pytest.mark.parametrize("timeout_s", [0.0, 0.05, 2.3])
def test_a_quiet_wait_ends_in_time(play: Play, submit: Submit, timeout_s: float) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        started = time.monotonic()
        assert await queue.wait_events("acme", made.id, after_sequence=1, timeout_s=timeout_s) == []
        assert timeout_s <= time.monotonic() - started < timeout_s + 2.0

    play(scenario)


def test_many_waiters_leave_the_queue_free(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        # More waiters than there are connections for commands, and than there are for waiting.
        count = MAX_CONNECTIONS + MAX_WAITERS
        waiters = [
            asyncio.create_task(queue.wait_events("acme", made.id, after_sequence=1, timeout_s=30))
            for _ in range(count)
        ]
        await asyncio.wait_for(asyncio.gather(*(queue.get("acme", made.id) for _ in range(100))), 20)
        await queue.claim(WorkerOffer("w"))
        for events in await asyncio.wait_for(asyncio.gather(*waiters), 30):
            assert [event.state for event in events] == [JobState.RUNNING]

    play(scenario)


def test_an_abandoned_wait_leaves_nothing_behind(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        left, other = [await submit(queue) for _ in range(2)]
        waiters = [
            asyncio.create_task(queue.wait_events("acme", left.id, after_sequence=1, timeout_s=30)) for _ in range(8)
        ]
        # Once they answer to a wait of their own kind, the eight before it are under way too.
        assert await queue.wait_events("acme", left.id, after_sequence=1, timeout_s=0.2) == []
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        await queue.cancel("acme", left.id)
        await queue.cancel("acme", other.id)
        for job in (left, other):
            [event] = await queue.wait_events("acme", job.id, after_sequence=1, timeout_s=5)
            assert (event.sequence, event.kind) == (2, "finished")

    play(scenario)
