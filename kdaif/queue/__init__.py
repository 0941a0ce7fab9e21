"""The queue of jobs: every Redis key and every Lua function, and nothing of either elsewhere."""

from kdaif.queue.address import without_password
from kdaif.queue.claim import Claim
from kdaif.queue.job_queue import JobQueue

__all__ = ["Claim", "JobQueue", "without_password"]
