"""Every Redis key name, and nowhere else.

All keys of a tenant carry the hash tag ``{tenant}``, so a transition touches one slot of a Redis Cluster. The keys of
the tenants as a whole, and of the workers, carry tags that no tenant can have.
"""

from __future__ import annotations

# Hash: the version of all that is here, and the oldest one whose workers may read it.
SCHEMA = "kdaif:{:schema}"

# Set: every tenant that ever had a job.
TENANTS = "kdaif:{:tenants}:all"
# Sorted set: tenants that may have work, by the Unix millisecond until which they count as busy at least.
BUSY = "kdaif:{:tenants}:busy"

OF_TENANTS = [TENANTS, BUSY]
"""What the scripts about tenants are given."""

# Hash: what each worker said last, as JSON by its name.
WORKERS = "kdaif:{:workers}:said"
# Sorted set: names of workers, by the Unix millisecond at which they count as silent.
BEATS = "kdaif:{:workers}:beats"
# Hash: the mode of each worker that is not ACTIVE.
MODES = "kdaif:{:workers}:modes"

OF_WORKERS = [WORKERS, BEATS, MODES]
"""What every script about workers is given."""


def job(tenant: str, job_id: str) -> str:
    """Hash: the job itself."""
    return f"kdaif:{{{tenant}}}:job:{job_id}"


def shards(tenant: str, job_id: str) -> str:
    """Set: what follows the job's id in the ids of the shards that its running attempt has cut.

    Scripts make it of the job's key, as they make the keys of the shards: all of them lie in one slot.
    """
    return f"{job(tenant, job_id)}:shards"


def events(tenant: str, job_id: str) -> str:
    """Stream: what happened to the job, with ids ``1-0``, ``2-0``, ..."""
    return f"kdaif:{{{tenant}}}:events:{job_id}"


def request(tenant: str, request_id: str) -> str:
    """Hash: the job that a request id made, and the digest of that request's body."""
    return f"kdaif:{{{tenant}}}:request:{request_id}"


def jobs(tenant: str) -> str:
    """Sorted set: every job id with score 0, so that ids sort by their letters, which is by time."""
    return f"kdaif:{{{tenant}}}:jobs"


def line(tenant: str) -> str:
    """Sorted set with score 0: the jobs that may start, as ``needs|rank|order|id``, so that they sort by these."""
    return f"kdaif:{{{tenant}}}:line"


def delayed(tenant: str) -> str:
    """Sorted set: queued jobs that may not start yet, named as in the line, by the Unix millisecond they join it."""
    return f"kdaif:{{{tenant}}}:delayed"


def needs(tenant: str) -> str:
    """Hash: how many jobs stand in line, by what they need of a worker."""
    return f"kdaif:{{{tenant}}}:needs"


def leases(tenant: str) -> str:
    """Sorted set: job ids under way, by the Unix millisecond at which their lease runs out."""
    return f"kdaif:{{{tenant}}}:leases"


def extended(tenant: str) -> str:
    """Set: the job ids whose lease an outage has extended since their worker last renewed it."""
    return f"kdaif:{{{tenant}}}:extended"


def order(tenant: str) -> str:
    """Counter: the last place given out in the line."""
    return f"kdaif:{{{tenant}}}:order"


def deadlines(tenant: str) -> str:
    """Sorted set: ids of jobs that have a deadline and are not over, by its Unix millisecond."""
    return f"kdaif:{{{tenant}}}:deadlines"


def ended(tenant: str) -> str:
    """Sorted set: ids of terminal jobs, by the Unix millisecond at which they ended."""
    return f"kdaif:{{{tenant}}}:ended"


def unsaved(tenant: str) -> str:
    """Hash: the version of each job that the archive has not written yet, by id."""
    return f"kdaif:{{{tenant}}}:unsaved"


def claims(tenant: str) -> str:
    """Hash: the job under way by the call that claimed it, so that the call may be repeated."""
    return f"kdaif:{{{tenant}}}:claims"


def deleted(tenant: str) -> str:
    """Set: ids of deleted jobs whose blobs are still there."""
    return f"kdaif:{{{tenant}}}:deleted"


def reaped(tenant: str) -> str:
    """String: the Unix millisecond of the last look for expired leases. A gap in it shows an outage."""
    return f"kdaif:{{{tenant}}}:reaped"


def rollout(tenant: str, name: str) -> str:
    """Hash: predictions, right and total outcomes of a rollout, by student."""
    return f"kdaif:{{{tenant}}}:rollout:{name}"


def report(tenant: str, rollout: str, request_id: str) -> str:
    """String: what a report of outcomes said, for as long as its request id is remembered."""
    return f"kdaif:{{{tenant}}}:report:{rollout}:{request_id}"


def of_work(tenant: str) -> list[str]:
    """The keys of which at least one is there while the tenant has work for a worker, a reaper or the archive."""
    return [line(tenant), delayed(tenant), leases(tenant), deadlines(tenant), unsaved(tenant), deleted(tenant)]


def of_job(tenant: str, job_id: str) -> list[str]:
    """What every script that moves a job is given, in the order that ``lua/job.lua`` names them.

    Without an id for the scripts that find it themselves, which then complete the first two.
    """
    return [
        job(tenant, job_id),
        events(tenant, job_id),
        line(tenant),
        delayed(tenant),
        needs(tenant),
        leases(tenant),
        extended(tenant),
        order(tenant),
        deadlines(tenant),
        ended(tenant),
        unsaved(tenant),
        claims(tenant),
    ]
