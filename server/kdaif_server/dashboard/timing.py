"""How long a job has taken, and may take yet."""

from __future__ import annotations

import time

from kdaif.records import Job, JobState

_LEAST_FRACTION = 0.1  # before, the time that is left would be a guess


def now_ms() -> int:
    """Unix milliseconds."""
    return int(time.time() * 1000)


def elapsed_s(job: Job) -> float | None:
    """From its last start to its end or to now; None before it started."""
    if not job.started_at_ms:
        return None
    return max(0.0, ((job.ended_at_ms or now_ms()) - job.started_at_ms) / 1000)


def remaining_s(job: Job) -> float | None:
    """Seconds that a running job will take yet, about; None where nobody can tell.

    By how fast it went so far. A later attempt goes on from a checkpoint, which says nothing of speed, so that there
    the estimate from before the job counts, as it does for one that has just begun.
    """
    if job.state is not JobState.RUNNING or job.progress is None:
        return None
    done, elapsed = job.progress.fraction, elapsed_s(job)
    if job.attempt == 1 and elapsed is not None and done >= _LEAST_FRACTION:
        return elapsed * (1 - done) / done
    return job.estimate.seconds * (1 - done) if job.estimate else None
