"""The errors of calls that the queue refuses."""

from __future__ import annotations

from kdaif.errors import AlreadyExistsError, FailedPreconditionError, FencedError, NotFoundError
from kdaif.records import JobState


def not_found(tenant: str, job_id: str) -> NotFoundError:
    """No such job."""
    return NotFoundError(f"tenant {tenant!r} has no job {job_id!r}; list the jobs to see which there are")


def taken(tenant: str, request_id: str, job_id: str) -> AlreadyExistsError:
    """The request id stands for another request."""
    return AlreadyExistsError(
        f"request id {request_id!r} of tenant {tenant!r} already made job {job_id} from another spec or display name; "
        "use a new request id for a new job"
    )


def too_different(tenant: str, most: int) -> FailedPreconditionError:
    """Each claim looks once at every combination of needs, so there is an end to them."""
    return FailedPreconditionError(
        f"tenant {tenant!r} has jobs of {most} different combinations of gpus and worker_labels in line, which is the "
        "most; use one of these, or wait until some have started"
    )


def wrong_state(tenant: str, job_id: str, state: str, action: str, wanted: str) -> FailedPreconditionError:
    """``wanted`` names the states, and ``action`` ends the sentence: "cancelled"."""
    return FailedPreconditionError(
        f"job {job_id} of tenant {tenant!r} is {state}; only a job that is {wanted} can be {action}"
    )


def fenced(tenant: str, job_id: str, token: int, action: str, state: str, attempt: str) -> FencedError:
    """The attempt is over."""
    is_another = state in (JobState.RUNNING, JobState.CANCELLING) and attempt == str(token)
    return FencedError(
        f"attempt {token} may not {action} job {job_id} of tenant {tenant!r} any more: the job is {state} at attempt "
        f"{attempt}{' by another claim' if is_another else ''}. Stop the work and publish nothing."
    )
