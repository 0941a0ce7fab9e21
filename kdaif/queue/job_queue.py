"""The queue itself. Each method that changes a job runs one Lua script; the states are drawn in ``records/job.py``."""

from __future__ import annotations

import bisect
import math
import random
import uuid
from collections.abc import Mapping
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from kdaif.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    FailureReason,
    FencedError,
    InvalidInputError,
    NotFoundError,
)
from kdaif.queue import codec, connection, keys
from kdaif.queue.claim import Claim
from kdaif.queue.event_log import EventLog
from kdaif.queue.ids import check_request_id, check_tenant, is_job_id, new_job_id
from kdaif.queue.listing import read_page
from kdaif.queue.scripts import Scripts
from kdaif.records import (
    DistillationSpec,
    Estimate,
    Failure,
    Job,
    JobEvent,
    JobResult,
    JobState,
    PreflightReport,
    Progress,
)

# Candidates for one claim: enough that workers who are too late for the first find another without asking again.
_CANDIDATES = 16
# Written by transitions alone; a worker that published one of these would mislead every watcher.
_RESERVED_KINDS = frozenset({"queued", "claimed", "requeued", "cancelling", "finished"})

# Named here because ``JobQueue.list`` hides the type inside the class.
_Texts: TypeAlias = list[str]
_Jobs: TypeAlias = list[Job]
_Events: TypeAlias = list[JobEvent]
_Answer: TypeAlias = list[Any]


class JobQueue:
    """Jobs of all tenants in one Redis or Valkey. Belongs to the event loop in which it was connected.

    Every method raises UnavailableError when the server does not answer; all may be called again then. Names of tenants
    that cannot be part of a key are an InvalidInputError.
    """

    def __init__(self, url: str, redis: Redis, *, lease_ttl_s: float, retry_delay_s: float) -> None:
        self._url = url
        self._redis = redis
        self._scripts = Scripts(redis)
        self._events = EventLog(url, redis)
        self._lease_ms = max(1, round(lease_ttl_s * 1000))
        self._retry_delay_ms = max(0, round(retry_delay_s * 1000))
        self._served: str | None = None

    @classmethod
    async def connect(
        cls, url: str, *, lease_ttl_s: float = 60.0, require_durable: bool = True, retry_delay_s: float = 2.0
    ) -> JobQueue:
        """Connects and checks the server.

        Args:
            url: ``redis://``, ``rediss://`` or ``unix://``.
            lease_ttl_s: seconds until a job whose worker is silent is given to another. Renew at a quarter of it.
            require_durable: refuse a server that may lose what it acknowledged.
            retry_delay_s: seconds before a second attempt; doubles with each further one, up to 60.

        Raises:
            FailedPreconditionError: AOF is off, or the server may evict keys. The message names the setting.
        """
        connection.check_url(url)
        if not (lease_ttl_s > 0 and math.isfinite(lease_ttl_s)):
            raise InvalidInputError.of("lease_ttl_s", f"is {lease_ttl_s}; it must be a positive number of seconds")
        redis = connection.open_redis(url)
        queue = cls(url, redis, lease_ttl_s=lease_ttl_s, retry_delay_s=retry_delay_s)
        try:
            await queue.ping()
            if require_durable:
                await connection.check_durable(redis, url)
        except BaseException:
            await queue.close()
            raise
        return queue

    async def close(self) -> None:
        """Closes every connection. Jobs stay."""
        await self._events.close()
        await self._redis.aclose()

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
            raise _taken(tenant, request_id, str(job_id))
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
    ) -> Job:
        """Queues a job, once per request id.

        Args:
            tenant: whose job it is.
            spec: the checked specification.
            preflight: what the check of the data found.
            request_id: the same id with the same spec and display name returns the job made first; empty: a new job.
            display_name: for people.
            estimate: what the job is expected to cost.

        Raises:
            AlreadyExistsError: the request id was used for another spec or display name.
        """
        check_tenant(tenant)
        request_id = request_id or uuid.uuid4().hex
        check_request_id(request_id)
        fields = {
            "spec": codec.encode(spec),
            "preflight": codec.encode(preflight),
            "display_name": display_name,
            "max_attempts": str(spec.max_attempts),
        } | ({} if estimate is None else {"estimate": codec.encode(estimate)})
        flat = [text for pair in fields.items() for text in pair]
        with connection.translated(self._url, "submit a job"):
            seconds, micros = await self._redis.time()
            job_id = new_job_id(seconds * 1000 + micros // 1000)
            # Before the job: a job of an unknown tenant would never be claimed. A tenant without jobs does no harm.
            await self._redis.sadd(keys.TENANTS, tenant)
            answer = await self._scripts.submit(
                [*keys.of_job(tenant, job_id), keys.jobs(tenant), keys.request(tenant, request_id)],
                [job_id, _new_call(), codec.body_digest(spec, display_name), *flat],
            )
        if answer[0] == "TAKEN":
            raise _taken(tenant, request_id, answer[1])
        if answer[0] == "KNOWN":
            return await self.get(tenant, answer[1])
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

    async def get(self, tenant: str, job_id: str) -> Job:
        """The job as it is now. Raises NotFoundError."""
        self._check_job_name(tenant, job_id)
        with connection.translated(self._url, f"read job {job_id}"):
            fields: Any = await self._redis.hgetall(keys.job(tenant, job_id))
        if not fields:
            raise _not_found(tenant, job_id)
        return codec.job_from(tenant, job_id, fields)

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
        """A queued job is CANCELLED at once; a running one CANCELLING until its worker or its lease ends.

        Raises:
            FailedPreconditionError: the job SUCCEEDED, FAILED or is DEAD.
            NotFoundError: no such job.
        """
        answer = await self._run(self._scripts.cancel, "cancel", tenant, job_id, _cancelled("before it started"))
        if answer[0] == "WRONG_STATE":
            raise FailedPreconditionError(
                f"job {job_id} of tenant {tenant!r} is {answer[1]}; only a QUEUED or RUNNING job can be cancelled"
            )
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

    async def retry(self, tenant: str, job_id: str) -> Job:
        """Queues a FAILED, DEAD or CANCELLED job again, at the end of the line and with all its attempts.

        ``attempt`` goes on counting, for it is the fencing token. ``failure`` stays until the job succeeds.

        Raises:
            FailedPreconditionError: the job is in another state.
            NotFoundError: no such job.
        """
        answer = await self._run(self._scripts.retry, "retry", tenant, job_id)
        if answer[0] == "WRONG_STATE":
            raise FailedPreconditionError(
                f"job {job_id} of tenant {tenant!r} is {answer[1]}; only a FAILED, DEAD or CANCELLED job can be retried"
            )
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

    async def claim(self, worker: str) -> Claim | None:
        """Takes the next job, or returns None at once. Tenants take turns; within a tenant the first in line is first.

        Args:
            worker: who takes it, for people.
        """
        with connection.translated(self._url, "claim a job"):
            for tenant in await self._tenants_with_jobs():
                candidates = await self._scripts.waiting([keys.queued(tenant), keys.delayed(tenant)], [_CANDIDATES])
                for job_id in candidates:
                    answer = await self._scripts.claim(
                        keys.of_job(tenant, job_id), [job_id, _new_call(), worker, self._lease_ms]
                    )
                    if answer[0] == "OK":
                        self._served = tenant
                        job = codec.job_from(tenant, job_id, codec.pairs(answer[1]))
                        return Claim(job=job, token=job.attempt, lease_expires_ms=int(float(answer[2])))
        return None

    async def _tenants(self) -> _Texts:
        members: Any = await self._redis.smembers(keys.TENANTS)
        return sorted(members)

    async def _tenants_with_jobs(self) -> _Texts:
        """Those with somebody in line, beginning after the tenant that was served last."""
        tenants = await self._tenants()
        async with self._redis.pipeline(transaction=False) as pipeline:
            for tenant in tenants:
                pipeline.exists(keys.queued(tenant))
            has_jobs = await pipeline.execute()
        waiting = [tenant for tenant, is_waiting in zip(tenants, has_jobs, strict=True) if is_waiting]
        if self._served is None and waiting:
            # Workers that start together should not all begin with the same tenant.
            self._served = random.choice(waiting)  # noqa: S311
        next_turn = bisect.bisect_right(waiting, self._served or "")
        return waiting[next_turn:] + waiting[:next_turn]

    async def renew(self, claim: Claim) -> bool:
        """Extends the lease by ``lease_ttl_s`` from now. False: the job is to be cancelled; stop, then call ``fail``.

        Raises:
            FencedError: the job was given to another attempt or has ended; stop, and publish nothing.
        """
        answer = await self._run_held(self._scripts.renew, "renew the lease of", claim, str(self._lease_ms))
        return bool(answer[1] == JobState.RUNNING)

    async def publish(
        self, claim: Claim, kind: str, progress: Progress | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Writes an event, and ``progress`` into the job when given.

        Args:
            claim: of the attempt that speaks.
            kind: "progress", "round" or "canary"; the kinds that transitions write are an InvalidInputError.
            progress: how far the attempt is.
            metrics: figures by name.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        if not kind or kind in _RESERVED_KINDS:
            raise InvalidInputError.of("kind", f"is {kind!r}; use 'progress', 'round' or 'canary'")
        texts = (codec.encode(progress) if progress else "", codec.encode(dict(metrics)) if metrics else "")
        await self._run_held(self._scripts.publish, "publish progress of", claim, kind, *texts)

    async def succeed(self, claim: Claim, result: JobResult) -> Job:
        """The job SUCCEEDED; or CANCELLED, without its result, when somebody asked for that before.

        The same call again is an acknowledgement.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        texts = (codec.encode(result), _cancelled("while it ran"))
        answer = await self._run_held(self._scripts.succeed, "finish", claim, *texts)
        return codec.job_from(claim.job.tenant, claim.job.id, codec.pairs(answer[1]))

    async def fail(self, claim: Claim, failure: Failure) -> Job:
        """The job is FAILED; or, when ``failure.retryable``, QUEUED again while attempts are left, else DEAD.

        CANCELLED, with that reason, when somebody asked for it before. The queue sets ``failure.attempt``.
        The same call again is an acknowledgement.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        texts = (
            codec.encode(failure),
            "1" if failure.retryable else "0",
            str(self._retry_delay_ms),
            _cancelled("while it ran"),
        )
        answer = await self._run_held(self._scripts.fail, "fail", claim, *texts)
        return codec.job_from(claim.job.tenant, claim.job.id, codec.pairs(answer[1]))

    async def reap(self) -> _Jobs:
        """Takes jobs away from workers that let their lease run out: QUEUED, DEAD or CANCELLED. Returns those jobs.

        Call it several times per lease, from any number of processes. When nobody called it for longer than a lease,
        the server was away and workers could not renew: that call extends every lease once instead.
        """
        lost = Failure(
            FailureReason.LOST,
            "The worker stopped renewing its lease: its process or host died, or lost its connection to Redis.",
            retryable=True,
        )
        reaped = []
        with connection.translated(self._url, "look for expired leases"):
            for tenant in await self._tenants():
                tenant_keys = [keys.leases(tenant), keys.extended(tenant), keys.reaped(tenant)]
                for job_id in await self._scripts.expired(tenant_keys, [self._lease_ms]):
                    texts = (
                        codec.encode(lost),
                        str(self._retry_delay_ms),
                        _cancelled("while it ran; its worker is gone"),
                    )
                    answer = await self._run(self._scripts.reap, "reap", tenant, job_id, *texts)
                    if answer[0] == "OK":
                        reaped.append(codec.job_from(tenant, job_id, codec.pairs(answer[1])))
        return reaped

    async def events(self, tenant: str, job_id: str, *, after_sequence: int, limit: int = 1000) -> _Events:
        """Events after ``after_sequence``, oldest first, at most ``limit``. Raises NotFoundError."""
        self._check_job_name(tenant, job_id)
        return await self._events.read(tenant, job_id, after_sequence, limit)

    async def wait_events(self, tenant: str, job_id: str, *, after_sequence: int, timeout_s: float) -> _Events:
        """As ``events``, but waits up to ``timeout_s`` for the first; an empty list then. Raises NotFoundError."""
        self._check_job_name(tenant, job_id)
        return await self._events.wait(tenant, job_id, after_sequence, timeout_s)

    async def _run_held(self, script: AsyncScript, action: str, claim: Claim, *arguments: str) -> _Answer:
        job = claim.job
        answer = await self._run(script, action, job.tenant, job.id, str(claim.token), *arguments)
        if answer[0] == "FENCED":
            raise FencedError(
                f"attempt {claim.token} may not {action} job {job.id} of tenant {job.tenant!r} any more: the job is "
                f"{answer[1]} at attempt {answer[2]}. Stop the work and publish nothing."
            )
        return answer

    async def _run(self, script: AsyncScript, action: str, tenant: str, job_id: str, *arguments: str) -> _Answer:
        self._check_job_name(tenant, job_id)
        with connection.translated(self._url, f"{action} job {job_id}"):
            answer: _Answer = await script(keys.of_job(tenant, job_id), [job_id, _new_call(), *arguments])
        if answer[0] == "NOT_FOUND":
            raise _not_found(tenant, job_id)
        return answer

    def _check_job_name(self, tenant: str, job_id: str) -> None:
        check_tenant(tenant)
        if not is_job_id(job_id):
            raise _not_found(tenant, job_id)


def _new_call() -> str:
    return uuid.uuid4().hex


def _cancelled(when: str) -> str:
    return codec.encode(Failure(FailureReason.CANCELLED, f"Cancelled on request {when}.", retryable=False))


def _not_found(tenant: str, job_id: str) -> NotFoundError:
    return NotFoundError(f"tenant {tenant!r} has no job {job_id!r}; list the jobs to see which there are")


def _taken(tenant: str, request_id: str, job_id: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"request id {request_id!r} of tenant {tenant!r} already made job {job_id} from another spec or display name; "
        "use a new request id for a new job"
    )
