"""What a worker counts, and that a child cannot make it count nonsense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kdaif_worker.devices import busy_of
from kdaif_worker.metrics import WatchedAttempt, WorkerMetrics
from prometheus_client import generate_latest
from redis.asyncio import Redis

from kdaif.records import JobState
from tests.worker.workplace import wait_until, workplace

MANY = 10_000


def value(metrics: WorkerMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_stages_that_come_back_are_one_figure() -> None:
    metrics, now = WorkerMetrics({}), [0.0]
    attempt = WatchedAttempt(metrics, lambda: now[0])
    for stage, at in (("load", 2.0), ("distil", 3.0), ("canary", 7.0), ("distil", 8.0), ("export", 20.0)):
        now[0] = at
        attempt.told(stage, {})
    now[0] = 21.0
    attempt.ended("succeeded")
    attempt.ended("lost")  # the first word counts
    stages = ("start", "load", "distil", "canary", "export")
    seconds = {stage: value(metrics, "kdaif_stage_seconds_sum", stage=stage) for stage in stages}
    assert seconds == {"start": 2.0, "load": 1.0, "distil": 16.0, "canary": 1.0, "export": 1.0}
    assert value(metrics, "kdaif_stage_seconds_count", stage="distil") == 1
    assert value(metrics, "kdaif_attempt_seconds_sum", outcome="succeeded") == 21.0
    assert value(metrics, "kdaif_attempts_ended_total", outcome="lost") == 0


def test_a_child_cannot_fill_the_memory_with_stages_nor_turn_counters_back() -> None:
    metrics = WorkerMetrics({})
    attempt = metrics.attempt_began()
    attempt.told("distil", {"train_seconds": 4.0, "influence_seconds": 1.0})
    before = len(generate_latest(metrics.registry))
    for number in range(MANY):
        attempt.told(f"stage-{number}", {"train_seconds": -1.0})
    attempt.ended("succeeded")
    assert len(generate_latest(metrics.registry)) < before + 5_000
    assert value(metrics, "kdaif_training_seconds_total") == 4.0
    assert value(metrics, "kdaif_influence_seconds_total") == 1.0


def test_gpus_are_busy_as_the_driver_says() -> None:
    assert busy_of("0, 37\n1, 100\n2, [N/A]\n") == {"0": 0.37, "1": 1.0}
    assert busy_of("") == {}


@pytest.mark.parametrize(("doing", "outcome"), [("finish", "succeeded"), ("segfault", "crashed"), ("review", "review")])
def test_an_attempt_is_counted_by_how_it_ended(valkey_url: str, tmp_path: Path, doing: str, outcome: str) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path) as place:
            job = await place.submit(doing, max_attempts=1)
            await place.until(job, JobState.SUCCEEDED, JobState.DEAD, JobState.AWAITING_REVIEW)
        metrics = place.supervisor._metrics
        assert value(metrics, "kdaif_attempts_started_total") == 1
        assert value(metrics, "kdaif_attempts_ended_total", outcome=outcome) == 1
        assert value(metrics, "kdaif_worker_busy") == 0

    asyncio.run(scenario())


def test_a_finish_that_is_refused_is_counted(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path) as place:
            job = await place.submit("sleep 60")
            await place.child_pid(job)
            # Taken away as by a reaper while the worker could not renew.
            async with Redis.from_url(valkey_url) as redis:
                await redis.hset(f"kdaif:{{acme}}:job:{job.id}", "claim", "another")
            metrics = place.supervisor._metrics
            await wait_until(lambda: value(metrics, "kdaif_fenced_finishes_total") == 1)
            assert value(metrics, "kdaif_attempts_ended_total", outcome="lost") == 1
            place.supervisor.kill_child()

    asyncio.run(scenario())
