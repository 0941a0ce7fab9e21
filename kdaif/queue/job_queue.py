"""The queue itself. Each method that changes a job runs one Lua script; the states are drawn in ``records/job.py``.

What a worker asks stands in `attempts`, what its clients, its operators and the archive ask stands here.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from redis.asyncio import Redis

from kdaif.errors import InvalidInputError
from kdaif.queue import codec, connection, endings, ids, keys, refusals, transitions
from kdaif.queue.archive import ArchiveIndex
from kdaif.queue.attempts import Attempts
from kdaif.queue.event_log import EventLog
from kdaif.queue.ids import check_request_id, check_tenant
from kdaif.queue.job_reads import JobReads
from kdaif.queue.listing import read_page
from kdaif.queue.outcome_counts import OutcomeCounts
from kdaif.queue.reaper import Reaper
from kdaif.queue.registry import WorkerRegistry
from kdaif.queue.scripts import Script, Scripts
from kdaif.queue.shards import Shards
from kdaif.queue.tenants import Tenants, touching
from kdaif.queue.transitions import Backoff, check_job_name, check_work_name, new_call
from kdaif.records import (
    DistillationSpec,
    Estimate,
    Job,
    JobEvent,
    JobSnapshot,
    JobState,
    PreflightReport,
    Worker,
    WorkerMode,
    WorkerOffer,
)

# Combinations of GPUs and labels that may stand in a tenant's line at once: a claim looks at each.
_MOST_NEEDS = 256
# Named here because ``JobQueue.list`` hides the type inside the class.
_Texts: TypeAlias = list[str]
_Jobs: TypeAlias = list[Job]
_Events: TypeAlias = list[JobEvent]
_Workers: TypeAlias = list[Worker]
_Snapshots: TypeAlias = list[JobSnapshot]
_JobNames: TypeAlias = list[tuple[str, str]]
_Answer: TypeAlias = list[Any]


class JobQueue:
    """Jobs of all tenants in one Redis or Valkey. Belongs to the event loop in which it was connected.

    Every method raises UnavailableError when the server does not answer; all may be called again then. Names of tenants
    that cannot be part of a key are an InvalidInputError.

    Attributes:
        durability: what the server's settings mean for jobs.
        outcomes: what devices reported during a rollout.
        claim, renew, publish, succeed, fail, await_review, give_back: those of `Attempts`.
        shards: of scorings that running jobs share.
        reap: that of `Reaper`.
    """

    def __init__(
        self, url: str, redis: Redis, *, lease_ttl_s: float, retry_delay_s: float, chance: Callable[[], float]
    ) -> None:
        self._url, self._redis = url, redis
        self._scripts = Scripts(redis)
        self._reads, self._events = JobReads(redis), EventLog(url, redis)
        self._registry = WorkerRegistry(url, redis, self._scripts)
        self.outcomes = OutcomeCounts(url, redis, self._scripts)
        self._archive = ArchiveIndex(url, redis, self._scripts)
        self._tenants = Tenants(redis, self._scripts)
        self._lease_ms = max(1, round(lease_ttl_s * 1000))
        self.durability = connection.Durability()

        backoff = Backoff(max(0, round(retry_delay_s * 1000)), chance)
        attempts = Attempts(url, self._scripts, self._tenants, self._lease_ms, backoff)
        self.claim, self.renew, self.publish = attempts.claim, attempts.renew, attempts.publish
        self.succeed, self.fail, self.give_back = attempts.succeed, attempts.fail, attempts.give_back
        self.await_review, self.shards = attempts.await_review, Shards(self._scripts, attempts.run_held)
        self.reap = Reaper(url, self._scripts, self._tenants, self._lease_ms, backoff).reap

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        lease_ttl_s: float = 60.0,
        require_durable: bool = True,
        retry_delay_s: float = 2.0,
        chance: Callable[[], float] = random.random,
    ) -> JobQueue:
        """Connects and checks the server.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``, see `address`.
            lease_ttl_s: seconds until a job whose worker is silent is given to another. Renew at a quarter of it.
            require_durable: refuse a server that may lose what it acknowledged.
            retry_delay_s: most seconds before a second attempt; doubles with each further one, up to 60.
            chance: 0 to 1, drawn for each delay, which lies between half of it and all of it.

        Raises:
            FailedPreconditionError: AOF is off or not fsynced at once, or the server may evict keys. The message names
                the setting.
        """
        if not (lease_ttl_s > 0 and math.isfinite(lease_ttl_s)):
            raise InvalidInputError.of("lease_ttl_s", f"is {lease_ttl_s}; it must be a positive number of seconds")
        redis = connection.open_redis(url)
        queue = cls(url, redis, lease_ttl_s=lease_ttl_s, retry_delay_s=retry_delay_s, chance=chance)
        try:
            await queue.ping()
            queue.durability = await connection.durability(redis, url)
            if require_durable:
                queue.durability.require(url)
        except BaseException:
            await queue.close()
            raise
        return queue

    async def close(self) -> None:
        """Closes every connection. Jobs stay."""
        await self._events.close()
        await connection.close(self._redis)

    async def ping(self) -> None:
        """Returns when the server answers."""
        with connection.translated(self._url, "reach the queue"):
            await self._redis.ping()

    async def submitted(
        self, tenant: str, spec: DistillationSpec, *, request_id: str, display_name: str = ""
    ) -> Job | None:
        """The job that this very request made before, or None. Raises AlreadyExistsError as `submit` does."""
        check_tenant(tenant)
        check_request_id(request_id)
        with connection.translated(self._url, "look up a request"):
            job_id, body = await self._redis.hmget(keys.request(tenant, request_id), "job", "body")
        if job_id is None:
            return None
        if body != codec.body_digest(spec, display_name):
            raise refusals.taken(tenant, request_id, str(job_id))
        return await self.get(tenant, str(job_id))

    async def submit(
        self,
        tenant: str,
        spec: DistillationSpec,
        preflight: PreflightReport,
        *,
        request_id: str,
        display_name: str = "",
        estimate: Estimate | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> Job:
        """Queues a job, once per request id.

        Args:
            tenant: whose job it is.
            spec: the checked specification.
            preflight: what the check of the data found.
            request_id: the same id with the same spec and display name returns the job made first; empty: a new job.
            display_name: for people.
            estimate: what the job is expected to cost.
            origin: the call that it came by, for traces and logs: ``traceparent``, ``call``.

        Raises:
            AlreadyExistsError: the request id was used for another spec or display name.
            FailedPreconditionError: too many different combinations of GPUs and labels stand in the tenant's line.
        """
        check_tenant(tenant)
        request_id = request_id or uuid.uuid4().hex
        check_request_id(request_id)
        fields = codec.submitted_fields(spec, preflight, display_name, request_id, estimate, origin)
        digest = codec.digest_of_encoded(fields["spec"], display_name)
        of_id = [ids.DIGITS, ids.random_end()]
        arguments = ["", new_call(), digest, str(_MOST_NEEDS), *of_id, *touching(tenant), *codec.flat(fields)]
        job_keys = [*keys.of_job(tenant, ""), keys.jobs(tenant), keys.request(tenant, request_id)]
        with connection.translated(self._url, "submit a job"):
            answer = await self._tenants.give_work(tenant, self._scripts.submit, job_keys, arguments)
        if answer[0] == "TAKEN":
            raise refusals.taken(tenant, request_id, answer[1])
        if answer[0] == "TOO_DIFFERENT":
            raise refusals.too_different(tenant, _MOST_NEEDS)
        if answer[0] == "KNOWN":
            return await self.get(tenant, answer[1])
        return codec.queued_job(tenant, answer[1:], spec, preflight, display_name, estimate, origin)

    async def get(self, tenant: str, job_id: str) -> Job:
        """The job as it is now. Raises NotFoundError."""
        check_job_name(tenant, job_id)
        with connection.translated(self._url, f"read job {job_id}"):
            job = await self._reads.read(tenant, job_id)
        if job is None:
            raise refusals.not_found(tenant, job_id)
        return job

    async def list(
        self, tenant: str, *, limit: int, cursor: str = "", states: frozenset[JobState] = frozenset()
    ) -> tuple[_Jobs, str]:
        """A page of jobs, newest first, and the cursor of the next page, which is empty after the last.

        A page may hold fewer jobs than ``limit`` though more follow: a filtered listing reads a bounded number.

        Args:
            tenant: whose jobs.
            limit: most jobs on the page, at least 1.
            cursor: of the page before; empty for the first.
            states: only jobs in these; empty for all.
        """
        check_tenant(tenant)
        return await read_page(self._redis, self._url, tenant, limit, cursor, states)

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """A job that waits is CANCELLED at once; a running one CANCELLING until its worker or its lease ends.

        Raises:
            FailedPreconditionError: the job SUCCEEDED, FAILED or is DEAD.
            NotFoundError: no such job.
        """
        answer = await self._ask(self._scripts.cancel, "cancel", tenant, job_id, endings.cancelled("while it waited"))
        if answer[0] == "WRONG_STATE":
            wanted = "QUEUED, RUNNING or AWAITING_REVIEW"
            raise refusals.wrong_state(tenant, job_id, answer[1], "cancelled", wanted)
        return codec.job_from(tenant, job_id, codec.answered(*answer[1:]))

    async def retry(self, tenant: str, job_id: str) -> Job:
        """Queues a FAILED, DEAD or CANCELLED job again, at the end of the line and with all its attempts and time.

        ``attempt`` goes on counting, for it is the fencing token. ``failure`` stays until the job succeeds.

        Raises:
            FailedPreconditionError: the job is in another state.
            NotFoundError: no such job.
        """
        answer = await self._ask(self._scripts.retry, "retry", tenant, job_id)
        if answer[0] == "WRONG_STATE":
            raise refusals.wrong_state(tenant, job_id, answer[1], "retried", "FAILED, DEAD or CANCELLED")
        return codec.job_from(tenant, job_id, codec.answered(*answer[1:]))

    async def resume(self, tenant: str, job_id: str) -> Job:
        """Queues a job that awaited a review again, at the end of the line and with all its attempts.

        It goes on from its checkpoint. Its deadline is the same as before.

        Raises:
            FailedPreconditionError: the job is in another state.
            NotFoundError: no such job.
        """
        answer = await self._ask(self._scripts.resume, "resume", tenant, job_id)
        if answer[0] == "WRONG_STATE":
            raise refusals.wrong_state(tenant, job_id, answer[1], "resumed", "AWAITING_REVIEW")
        return codec.job_from(tenant, job_id, codec.answered(*answer[1:]))

    async def reject(self, tenant: str, job_id: str, why: str) -> Job:
        """A job that awaited a review FAILED with reason REVIEW.

        Args:
            tenant: whose job it is.
            job_id: of the job.
            why: for people.

        Raises:
            FailedPreconditionError: the job is in another state.
            NotFoundError: no such job.
        """
        failure = endings.for_review(why)
        answer = await self._ask(self._scripts.reject, "reject", tenant, job_id, failure)
        if answer[0] == "WRONG_STATE":
            raise refusals.wrong_state(tenant, job_id, answer[1], "rejected", "AWAITING_REVIEW")
        return codec.job_from(tenant, job_id, codec.answered(*answer[1:]))

    async def delete(self, tenant: str, job_id: str) -> None:
        """Removes a terminal job with its events and its request id. Its blobs are then due: see ``deleted``.

        Raises:
            FailedPreconditionError: the job has not ended; cancel it first.
            NotFoundError: no such job.
        """
        check_job_name(tenant, job_id)
        with connection.translated(self._url, f"delete job {job_id}"):
            await self._tenants.touch(tenant)
            request_id = await self._redis.hget(keys.job(tenant, job_id), "request_id")
            answer = await self._scripts.delete(
                [
                    *keys.of_job(tenant, job_id),
                    keys.jobs(tenant),
                    keys.request(tenant, str(request_id)),
                    keys.deleted(tenant),
                ],
                [job_id, new_call()],
            )
        if answer[0] == "NOT_FOUND":
            raise refusals.not_found(tenant, job_id)
        if answer[0] == "WRONG_STATE":
            wanted = "SUCCEEDED, FAILED, CANCELLED or DEAD"
            raise refusals.wrong_state(tenant, job_id, answer[1], "deleted", wanted)

    async def announce(self, offer: WorkerOffer, job: Job | None = None, note: str = "") -> WorkerMode:
        """A worker's beat; answers what an operator wants of it.

        PAUSED: claim nothing, which `claim` sees to as well. DRAINING: end after the job at hand, then `leave`. The
        worker counts as present for one lease.

        Args:
            offer: who it is, and what it brings.
            job: the one at hand.
            note: what an operator should know of the worker; empty where there is nothing.
        """
        return await self._registry.announce(offer, job, note, self._lease_ms)

    async def leave(self, name: str) -> None:
        """A worker has ended by itself: it is not listed any more, nor DRAINING when it starts again. A pause stays."""
        await self._registry.leave(name)

    async def workers(self) -> _Workers:
        """Workers by name; those that fell silent too, for a day, and for as long as they are paused or draining."""
        return await self._registry.all()

    async def pause_worker(self, name: str) -> None:
        """The worker ends its job and takes no other. Raises NotFoundError for one that never announced itself."""
        await self._registry.set_mode(name, WorkerMode.PAUSED)

    async def unpause_worker(self, name: str) -> None:
        """The worker is ACTIVE again, whether it was paused or draining. Raises NotFoundError as `pause_worker`."""
        await self._registry.set_mode(name, WorkerMode.ACTIVE)

    async def drain_worker(self, name: str) -> None:
        """The worker ends after its present job. Raises NotFoundError as `pause_worker`."""
        await self._registry.set_mode(name, WorkerMode.DRAINING)

    async def unsaved(self, limit: int) -> _Snapshots:
        """Jobs, at most ``limit``, that have changed since the archive wrote them.

        A job is due when it was submitted, ended, began or ended to await a review, or a person asked something of it.
        """
        return await self._archive.unsaved(await self._busy_tenants(), limit)

    async def saved(self, tenant: str, job_id: str, version: int) -> None:
        """The archive has written the job's snapshot of that version; it stays due when it has changed since."""
        await self._archive.saved(tenant, job_id, version)

    async def restore(self, snapshot: JobSnapshot) -> bool:
        """Puts a job of the archive back; False where the job or its request id is here already.

        A job under way comes back as QUEUED and one being cancelled as CANCELLED; the line is in the order of these
        calls. The next attempt counts on from a full thousand, which no worker that the archive did not see can hold;
        the archive must write the job anew for that, so it is due.
        """
        with connection.translated(self._url, f"restore job {snapshot.job.id}"):
            await self._tenants.touch(snapshot.job.tenant, may_be_new=True)
        return await self._archive.restore(snapshot)

    async def ended_before(self, before_ms: int, limit: int) -> _JobNames:
        """Tenant and id of terminal jobs that ended before a Unix millisecond, at most ``limit``, for `delete`."""
        with connection.translated(self._url, "list the tenants"):
            tenants = await self._tenants.all()
        return await self._archive.ended_before(tenants, before_ms, limit)

    async def deleted(self, limit: int) -> _JobNames:
        """Tenant and id of deleted jobs whose blobs are to be removed, at most ``limit``. Then call `erased`."""
        return await self._archive.deleted(await self._busy_tenants(), limit)

    async def erased(self, tenant: str, job_id: str) -> None:
        """The blobs of a deleted job are gone, its archived snapshot among them."""
        await self._archive.erased(tenant, job_id)

    async def _busy_tenants(self) -> _Texts:
        with connection.translated(self._url, "list the tenants"):
            return await self._tenants.busy()

    async def events(self, tenant: str, job_id: str, *, after_sequence: int, limit: int = 1000) -> _Events:
        """Events after ``after_sequence``, oldest first, at most ``limit``. Raises NotFoundError."""
        check_job_name(tenant, job_id)
        return await self._events.read(tenant, job_id, after_sequence, limit)

    async def wait_events(
        self, tenant: str, job_id: str, *, after_sequence: int, timeout_s: float, is_there: bool = False
    ) -> _Events:
        """As ``events``, but waits up to ``timeout_s`` for the first; an empty list then. Raises NotFoundError.

        With ``is_there`` it does not look first whether there is such a job: for a caller that has just seen it.
        """
        check_work_name(tenant, job_id)
        return await self._events.wait(tenant, job_id, after_sequence, timeout_s, is_there=is_there)

    async def _ask(self, script: Script, action: str, tenant: str, job_id: str, *arguments: str) -> _Answer:
        """What a person asks: the job may come to life after a long time."""
        check_job_name(tenant, job_id)
        with connection.translated(self._url, f"{action} job {job_id}"):
            await self._tenants.touch(tenant)
        return await transitions.run(self._url, script, action, tenant, job_id, *arguments)
