"""The failures that the queue itself writes into a job, as the JSON that the scripts take."""

from __future__ import annotations

import functools

from kdaif.errors import FailureReason
from kdaif.queue import codec
from kdaif.records import Failure

OVERDUE = codec.encode(
    Failure(
        FailureReason.DEADLINE,
        "The job was not over within its deadline_s. Retry it, which counts anew, or submit it with a longer one.",
        retryable=False,
    )
)
"""A deadline passed."""

LOST = codec.encode(
    Failure(
        FailureReason.LOST,
        "The worker stopped renewing its lease: its process or host died, or lost its connection to Redis.",
        retryable=True,
    )
)
"""A lease ran out."""


@functools.cache
def cancelled(when: str) -> str:
    """Somebody asked for it. ``when`` ends the sentence: "while it ran"."""
    return codec.encode(Failure(FailureReason.CANCELLED, f"Cancelled on request {when}.", retryable=False))


def for_review(why: str) -> str:
    """A person is to decide, or has decided against the job."""
    return codec.encode_failure(Failure(FailureReason.REVIEW, why, retryable=False))


def given_back(why: str) -> str:
    """The worker was told to stop."""
    return codec.encode_failure(Failure(FailureReason.LOST, why, retryable=True))
