"""The queue of jobs: every Redis key and every Lua function, and nothing of either elsewhere."""

from kdaif.queue.address import without_password
from kdaif.queue.claim import Claim
from kdaif.queue.job_queue import JobQueue
from kdaif.queue.outcome_counts import OutcomeCount, OutcomeCounts

__all__ = ["Claim", "JobQueue", "OutcomeCount", "OutcomeCounts", "without_password"]
