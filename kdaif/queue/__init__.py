"""The queue of jobs: every Redis key and every Lua function, and nothing of either elsewhere."""

from kdaif.queue.address import without_password
from kdaif.queue.claim import Claim
from kdaif.queue.job_queue import JobQueue
from kdaif.queue.measurements import Line, Measured, Measurements, TenantQueue
from kdaif.queue.outcome_counts import OutcomeCount, OutcomeCounts
from kdaif.queue.schema import VERSION as SCHEMA_VERSION
from kdaif.queue.schema import prepare, require_readable
from kdaif.queue.shards import Standing

__all__ = [
    "SCHEMA_VERSION",
    "Claim",
    "JobQueue",
    "Line",
    "Measured",
    "Measurements",
    "OutcomeCount",
    "OutcomeCounts",
    "Standing",
    "TenantQueue",
    "prepare",
    "require_readable",
    "without_password",
]
