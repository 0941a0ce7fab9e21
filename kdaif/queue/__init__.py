"""The queue of jobs: every Redis key and every Lua function, and nothing of either elsewhere."""

from kdaif.queue.job_queue import Claim, JobQueue

__all__ = ["Claim", "JobQueue"]
