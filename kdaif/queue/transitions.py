"""One run of a script that moves a job whose id is known."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdaif.queue import connection, keys, refusals
from kdaif.queue.ids import check_tenant, is_job_id, is_shard_id
from kdaif.queue.scripts import Script


@dataclass(frozen=True)
class Backoff:
    """How long a job waits for its second attempt; ``lua/job.lua`` tells how that grows.

    Attributes:
        delay_ms: the longest.
        chance: 0 to 1, drawn for each delay.
    """

    delay_ms: int
    chance: Callable[[], float]

    def arguments(self) -> tuple[str, str]:
        """What a script takes."""
        return str(self.delay_ms), str(self.chance())


async def run(url: str, script: Script, action: str, tenant: str, job_id: str, *arguments: str) -> list[Any]:
    """What the script answers, its verdict first: "OK", or why nothing happened.

    Raises:
        InvalidInputError: no such tenant can be.
        NotFoundError: no such job.
        UnavailableError: the server does not answer.
    """
    check_work_name(tenant, job_id)
    with connection.translated(url, f"{action} job {job_id}"):
        answer: list[Any] = await script(keys.of_job(tenant, job_id), [job_id, new_call(), *arguments])
    if answer[0] == "NOT_FOUND":
        raise refusals.not_found(tenant, job_id)
    return answer


def new_call() -> str:
    """Names one call, so that the client library may repeat it when the reply was lost."""
    return uuid.uuid4().hex


def check_job_name(tenant: str, job_id: str) -> None:
    """Raises InvalidInputError for what can be no tenant, and NotFoundError for what can be no job."""
    check_tenant(tenant)
    if not is_job_id(job_id):
        raise refusals.not_found(tenant, job_id)


def check_work_name(tenant: str, job_id: str) -> None:
    """As `check_job_name`, for workers, which work on shards too."""
    check_tenant(tenant)
    if not (is_job_id(job_id) or is_shard_id(job_id)):
        raise refusals.not_found(tenant, job_id)
