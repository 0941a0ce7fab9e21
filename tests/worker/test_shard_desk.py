"""What a supervisor does for a child whose shards others score."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from kdaif.errors import FailureReason, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import Failure, Job, JobState, Weighting, WorkerOffer
from tests.worker.workplace import answered, events, workplace


def test_a_shard_that_fails_for_good_fails_its_job_and_says_which_and_why(valkey_url: str, tmp_path: Path) -> None:
    why = Failure(FailureReason.OUT_OF_MEMORY, "held 2,000 MiB", retryable=False, log_tail="last words")

    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("shards 1", weighting=Weighting(rows_per_shard=1))
            await place.until(job, JobState.RUNNING)
            shard = await answered(lambda: place.queue.claim(WorkerOffer("other"), shards=True))
            assert shard is not None
            assert shard.job.shard is not None
            assert shard.job.shard.number == 2
            await place.queue.fail(shard, why)
            failed = await place.until(job, JobState.FAILED)
            assert failed.failure is not None
            assert failed.failure.message == "No scores of shard 2 of 2, rows 1 to 1: held 2,000 MiB"
            assert failed.failure.reason is FailureReason.OUT_OF_MEMORY
            assert failed.failure.log_tail == "last words"
            assert failed.attempt == 1

    asyncio.run(scenario())


def test_a_child_that_dies_while_others_score_its_shards_is_noticed(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("shards 0.5", weighting=Weighting(rows_per_shard=1), max_attempts=1)
            [first] = await answered(lambda: started(place.queue, job))
            await place.until(job, JobState.RUNNING)
            shard = await answered(lambda: place.queue.claim(WorkerOffer("other"), shards=True))
            assert shard is not None
            await answered(lambda: told(place.queue, job, "influence: 1 of 2 shards"))
            os.kill(int(first), signal.SIGKILL)
            dead = await place.until(job, JobState.DEAD)
            assert dead.failure is not None
            assert "SIGKILL" in dead.failure.message
            with pytest.raises(NotFoundError):
                await place.queue.renew(shard)

    asyncio.run(scenario())


async def told(queue: JobQueue, job: Job, message: str) -> bool:
    progress = [event.progress for event in await events(queue, job, "progress")]
    return message in [each.message for each in progress if each is not None]


async def started(queue: JobQueue, job: Job) -> list[str]:
    """The first thing that the child said: its process."""
    progress = [event.progress for event in await events(queue, job, "progress")]
    return [each.message for each in progress if each is not None][:1]
