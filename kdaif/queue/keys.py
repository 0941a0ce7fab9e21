"""Every Redis key name, and nowhere else.

All keys of a tenant carry the hash tag ``{tenant}``, so a transition touches one slot of a Redis Cluster. The only key
outside a tenant is the set of tenants; no script touches it.
"""

from __future__ import annotations

TENANTS = "kdaif:tenants"


def job(tenant: str, job_id: str) -> str:
    """Hash: the job itself."""
    return f"kdaif:{{{tenant}}}:job:{job_id}"


def events(tenant: str, job_id: str) -> str:
    """Stream: what happened to the job, with ids ``1-0``, ``2-0``, ..."""
    return f"kdaif:{{{tenant}}}:events:{job_id}"


def request(tenant: str, request_id: str) -> str:
    """Hash: the job that a request id made, and the digest of that request's body."""
    return f"kdaif:{{{tenant}}}:request:{request_id}"


def jobs(tenant: str) -> str:
    """Sorted set: every job id with score 0, so that ids sort by their letters, which is by time."""
    return f"kdaif:{{{tenant}}}:jobs"


def queued(tenant: str) -> str:
    """Sorted set: queued job ids by their place in the line."""
    return f"kdaif:{{{tenant}}}:queued"


def delayed(tenant: str) -> str:
    """Sorted set: the queued job ids that may not start yet, by the Unix millisecond from which they may."""
    return f"kdaif:{{{tenant}}}:delayed"


def leases(tenant: str) -> str:
    """Sorted set: job ids under way, by the Unix millisecond at which their lease runs out."""
    return f"kdaif:{{{tenant}}}:leases"


def extended(tenant: str) -> str:
    """Set: the job ids whose lease an outage has extended since their worker last renewed it."""
    return f"kdaif:{{{tenant}}}:extended"


def order(tenant: str) -> str:
    """Counter: the last place given out in the line."""
    return f"kdaif:{{{tenant}}}:order"


def reaped(tenant: str) -> str:
    """String: the Unix millisecond of the last look for expired leases. A gap in it shows an outage."""
    return f"kdaif:{{{tenant}}}:reaped"


def of_job(tenant: str, job_id: str) -> list[str]:
    """What every script that moves a job is given, in the order that ``lua/job.lua`` names them."""
    return [
        job(tenant, job_id),
        events(tenant, job_id),
        queued(tenant),
        delayed(tenant),
        leases(tenant),
        extended(tenant),
        order(tenant),
    ]
