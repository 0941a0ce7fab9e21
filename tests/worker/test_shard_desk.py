"""What a supervisor does for a child whose shards others score."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from kdaif_worker.crash_loop import CrashLoop
from kdaif_worker.release import RELEASE
from kdaif_worker.shard_desk import tried_again
from redis import Redis

from kdaif.errors import FailureReason, NotFoundError
from kdaif.queue import JobQueue, Standing, keys
from kdaif.records import Failure, Job, JobState, Scheduling, Shard, Weighting, WorkerOffer
from tests.worker.workplace import answered, events, workplace


def test_a_shard_that_fails_for_good_fails_its_job_and_says_which_and_why(valkey_url: str, tmp_path: Path) -> None:
    why = Failure(FailureReason.OUT_OF_MEMORY, "held 2,000 MiB", retryable=False, log_tail="last words")

    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("shards 1", weighting=Weighting(rows_per_shard=1))
            await place.until(job, JobState.RUNNING)
            shard = await answered(lambda: place.queue.claim(WorkerOffer("other"), shards_of=RELEASE))
            assert shard is not None
            given = shard.job.shard
            assert given is not None
            await place.queue.fail(shard, why)
            failed = await place.until(job, JobState.FAILED)
            assert failed.failure is not None
            which = f"shard {given.number} of 2, rows {given.start} to {given.start}"
            assert failed.failure.message == f"No scores of {which}: held 2,000 MiB"
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
            shard = await answered(lambda: place.queue.claim(WorkerOffer("other"), shards_of=RELEASE))
            assert shard is not None
            await answered(lambda: told(place.queue, job, "influence: 1 of 2 shards"))
            os.kill(int(first), signal.SIGKILL)
            dead = await place.until(job, JobState.DEAD)
            assert dead.failure is not None
            assert "SIGKILL" in dead.failure.message
            with pytest.raises(NotFoundError):
                await place.queue.renew(shard)

    asyncio.run(scenario())


def test_what_the_store_lost_ends_the_attempt_and_not_the_job(valkey_url: str, tmp_path: Path) -> None:
    why = Failure(FailureReason.STORAGE, "rows-ab is gone", retryable=False)

    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("shards 0.5", weighting=Weighting(rows_per_shard=1))
            await place.until(job, JobState.RUNNING)
            shard = await answered(lambda: place.queue.claim(WorkerOffer("other"), shards_of=RELEASE))
            assert shard is not None
            await place.queue.fail(shard, why)
            done = await place.until(job, JobState.SUCCEEDED)
            assert done.attempt == 2

    asyncio.run(scenario())


def test_shards_of_one_job_that_die_do_not_make_the_worker_suspect(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        crashes = CrashLoop(first_pause_s=60.0)
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0, crash_loop=crashes) as place:
            offer = WorkerOffer("other", labels=frozenset({"elsewhere"}))
            only = Scheduling(worker_labels=("elsewhere",))
            job = await place.submit("segfault", scheduling=only, max_attempts=1)
            claim = await place.queue.claim(offer)
            assert claim is not None
            spec = claim.job.spec.model_copy(update={"scheduling": Scheduling()})  # so that w1 suits its shards
            claim = dataclasses.replace(claim, job=dataclasses.replace(claim.job, spec=spec))
            shards = [Shard(job.id, n, 3, n - 1, n, "ab" * 32, "cd" * 32) for n in (1, 2, 3)]
            await place.queue.shards.submit(claim, shards, cut=1, release=RELEASE)
            names = [keys.job("acme", f"{job.id}{shard.end_of_id}") for shard in shards]
            with Redis.from_url(valkey_url, decode_responses=True) as redis:

                async def all_died() -> bool:
                    assert await place.queue.renew(claim)
                    return all(redis.hget(name, "state") == "DEAD" for name in names)

                await answered(all_died)
            assert crashes.note == ""

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((), ""),
        ((3,), "; shard 3 took 2 attempts"),
        (range(1, 1001), "; " + "".join(f"shard {n} took 2 attempts, " for n in range(1, 9)) + "992 more took several"),
    ],
)
def test_what_is_told_of_shards_that_were_tried_again_stays_short(numbers: Iterable[int], told: str) -> None:
    again = tuple((Shard("j", n, 1000, n - 1, n, "ab" * 32, "cd" * 32), 2) for n in numbers)
    assert tried_again(Standing(None, 1000, 1000, again, None)) == told


@pytest.mark.parametrize("group", [{"processes_per_job": 2}, {"hosts": 2, "rendezvous": "gpu1:29400"}])
def test_processes_that_share_a_job_take_no_shards(valkey_url: str, tmp_path: Path, group: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0, **group) as place:
            job = await place.submit("shared", scheduling=Scheduling(worker_labels=("elsewhere",)))
            claim = await place.queue.claim(WorkerOffer("other", labels=frozenset({"elsewhere"})))
            assert claim is not None
            spec = claim.job.spec.model_copy(update={"scheduling": Scheduling()})
            claim = dataclasses.replace(claim, job=dataclasses.replace(claim.job, spec=spec))
            shard = Shard(job.id, 1, 1, 0, 1, "ab" * 32, "cd" * 32)
            await place.queue.shards.submit(claim, [shard], cut=1, release=RELEASE)
            # What comes behind it in line is taken, so it has been passed over.
            behind = await place.submit("behind", max_attempts=1)
            await place.until(behind, JobState.RUNNING, JobState.DEAD, JobState.FAILED, JobState.SUCCEEDED)
            assert (await place.queue.shards.work(claim, "other")).to_score == shard

    asyncio.run(scenario())


async def told(queue: JobQueue, job: Job, message: str) -> bool:
    progress = [event.progress for event in await events(queue, job, "progress")]
    return message in [each.message for each in progress if each is not None]


async def started(queue: JobQueue, job: Job) -> list[str]:
    """The first thing that the child said: its process."""
    progress = [event.progress for event in await events(queue, job, "progress")]
    return [each.message for each in progress if each is not None][:1]
