"""The remembered messages of jobs."""

from __future__ import annotations

from dataclasses import replace

from kdaif_server._job_messages import JobMessages

from kdaif.records import DistillationSpec, Job, JobState, PreflightReport

JOB = Job("t", "a", JobState.QUEUED, DistillationSpec(labeled="0" * 32, unlabeled="1" * 32), PreflightReport(()), 1)


def test_a_job_that_moves_takes_one_place_and_shows_how_it_is() -> None:
    messages = JobMessages()
    first = messages.of(JOB)
    assert messages.of(JOB) is first
    for attempt in range(1, 5000):
        moved = replace(JOB, attempt=attempt)
        assert messages.of(moved).job.attempt == attempt
        assert messages.of(moved) is messages.of(moved)
    assert len(messages._remembered) == 1
    assert messages.of(JOB).job.attempt == 0
