"""The queue itself. Each method that changes a job runs one Lua script; the states are drawn in ``records/job.py``."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from kdaif.errors import FailureReason, InvalidInputError
from kdaif.queue import codec, connection, keys, refusals
from kdaif.queue.archive import ArchiveIndex
from kdaif.queue.claim import Claim
from kdaif.queue.event_log import EventLog
from kdaif.queue.ids import check_request_id, check_tenant, is_job_id, new_job_id
from kdaif.queue.listing import read_page
from kdaif.queue.outcome_counts import OutcomeCounts
from kdaif.queue.registry import WorkerRegistry
from kdaif.queue.scripts import Scripts
from kdaif.queue.tenants import Tenants
from kdaif.queue.turns import Turns
from kdaif.records import (
    DistillationSpec,
    Estimate,
    Failure,
    Job,
    JobEvent,
    JobResult,
    JobSnapshot,
    JobState,
    PreflightReport,
    Progress,
    Worker,
    WorkerMode,
    WorkerOffer,
)

# Candidates for one claim: enough that workers who are too late for the first find another without asking again.
_CANDIDATES = 16
# Combinations of GPUs and labels that may stand in a tenant's line at once: a claim looks at each.
_MOST_NEEDS = 256
# Written by transitions alone; a worker that published one of these would mislead every watcher.
_RESERVED_KINDS = frozenset({"queued", "claimed", "requeued", "cancelling", "review", "restored", "finished"})

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
    """

    def __init__(
        self, url: str, redis: Redis, *, lease_ttl_s: float, retry_delay_s: float, chance: Callable[[], float]
    ) -> None:
        self._url = url
        self._redis = redis
        self._scripts = Scripts(redis)
        self._events = EventLog(url, redis)
        self._registry = WorkerRegistry(url, redis, self._scripts)
        self.outcomes = OutcomeCounts(url, redis, self._scripts)
        self._archive = ArchiveIndex(url, redis, self._scripts)
        self._tenants = Tenants(redis, self._scripts)
        self._turns = Turns()
        self._lease_ms = max(1, round(lease_ttl_s * 1000))
        self._retry_delay_ms = max(0, round(retry_delay_s * 1000))
        self._chance = chance
        self.durability = connection.Durability()

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
        digest = codec.body_digest(spec, display_name)
        with connection.translated(self._url, "submit a job"):
            job_id = new_job_id(int(await self._scripts.now([keys.jobs(tenant)])))
            await self._tenants.touch(tenant, may_be_new=True)
            answer = await self._scripts.submit(
                [*keys.of_job(tenant, job_id), keys.jobs(tenant), keys.request(tenant, request_id)],
                [job_id, _new_call(), digest, str(_MOST_NEEDS), *codec.flat(fields)],
            )
        if answer[0] == "TAKEN":
            raise refusals.taken(tenant, request_id, answer[1])
        if answer[0] == "TOO_DIFFERENT":
            raise refusals.too_different(tenant, _MOST_NEEDS)
        if answer[0] == "KNOWN":
            return await self.get(tenant, answer[1])
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

    async def get(self, tenant: str, job_id: str) -> Job:
        """The job as it is now. Raises NotFoundError."""
        self._check_job_name(tenant, job_id)
        with connection.translated(self._url, f"read job {job_id}"):
            fields: Any = await self._redis.hgetall(keys.job(tenant, job_id))
        if not fields:
            raise refusals.not_found(tenant, job_id)
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
        """A job that waits is CANCELLED at once; a running one CANCELLING until its worker or its lease ends.

        Raises:
            FailedPreconditionError: the job SUCCEEDED, FAILED or is DEAD.
            NotFoundError: no such job.
        """
        answer = await self._ask(self._scripts.cancel, "cancel", tenant, job_id, _cancelled("while it waited"))
        if answer[0] == "WRONG_STATE":
            wanted = "QUEUED, RUNNING or AWAITING_REVIEW"
            raise refusals.wrong_state(tenant, job_id, answer[1], "cancelled", wanted)
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

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
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

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
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

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
        failure = codec.encode_failure(Failure(FailureReason.REVIEW, why, retryable=False))
        answer = await self._ask(self._scripts.reject, "reject", tenant, job_id, failure)
        if answer[0] == "WRONG_STATE":
            raise refusals.wrong_state(tenant, job_id, answer[1], "rejected", "AWAITING_REVIEW")
        return codec.job_from(tenant, job_id, codec.pairs(answer[1]))

    async def delete(self, tenant: str, job_id: str) -> None:
        """Removes a terminal job with its events and its request id. Its blobs are then due: see ``deleted``.

        Raises:
            FailedPreconditionError: the job has not ended; cancel it first.
            NotFoundError: no such job.
        """
        self._check_job_name(tenant, job_id)
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
                [job_id, _new_call()],
            )
        if answer[0] == "NOT_FOUND":
            raise refusals.not_found(tenant, job_id)
        if answer[0] == "WRONG_STATE":
            wanted = "SUCCEEDED, FAILED, CANCELLED or DEAD"
            raise refusals.wrong_state(tenant, job_id, answer[1], "deleted", wanted)

    async def claim(self, offer: WorkerOffer) -> Claim | None:
        """Takes the next job that the worker may run, or returns None at once; always None while it is not ACTIVE.

        The tenant with the fewest jobs under way comes first, and equals take turns. Of one tenant's jobs the most
        urgent comes first, and of equally urgent ones the oldest. Costs a look per busy tenant and per combination of
        needs in line, however many jobs wait.

        Args:
            offer: who takes it, and what it brings.
        """
        with connection.translated(self._url, "claim a job"):
            if await self._redis.hexists(keys.MODES, offer.name):
                return None
            for tenant in self._turns.order(await self._tenants.running()):
                candidates = await self._scripts.waiting(
                    [keys.line(tenant), keys.delayed(tenant), keys.needs(tenant)],
                    [str(_CANDIDATES), str(offer.gpus), *sorted(offer.labels)],
                )
                for job_id in candidates:
                    answer = await self._scripts.claim(
                        keys.of_job(tenant, job_id),
                        [job_id, _new_call(), offer.name, str(self._lease_ms), _overdue()],
                    )
                    if answer[0] == "OK":
                        self._turns.served(tenant)
                        return _claim(tenant, job_id, answer)
        return None

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
            codec.encode_failure(failure),
            "1" if failure.retryable else "0",
            str(self._retry_delay_ms),
            str(self._chance()),
            _cancelled("while it ran"),
        )
        answer = await self._run_held(self._scripts.fail, "fail", claim, *texts)
        return codec.job_from(claim.job.tenant, claim.job.id, codec.pairs(answer[1]))

    async def await_review(self, claim: Claim, why: str) -> Job:
        """The job is AWAITING_REVIEW until a person resumes, rejects or cancels it; its worker is free.

        CANCELLED when somebody asked for that before. The same call again is an acknowledgement.

        Args:
            claim: of the attempt that raises the alarm.
            why: for people; becomes the job's failure, with reason REVIEW.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        failure = codec.encode_failure(Failure(FailureReason.REVIEW, why, retryable=False))
        texts = (failure, _cancelled("while it ran"))
        answer = await self._run_held(self._scripts.await_review, "hold for review", claim, *texts)
        return codec.job_from(claim.job.tenant, claim.job.id, codec.pairs(answer[1]))

    async def give_back(self, claim: Claim, why: str) -> Job:
        """The job is QUEUED again at its old place, at once, and the attempt does not count against ``max_attempts``.

        For a worker that is told to stop. CANCELLED when somebody asked for that before. The same call again is an
        acknowledgement.

        Args:
            claim: of the attempt that ends.
            why: for people; stands in the event alone.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        failure = codec.encode_failure(Failure(FailureReason.LOST, why, retryable=True))
        texts = (failure, _cancelled("while it ran"))
        answer = await self._run_held(self._scripts.give_back, "give back", claim, *texts)
        return codec.job_from(claim.job.tenant, claim.job.id, codec.pairs(answer[1]))

    async def reap(self) -> _Jobs:
        """Ends jobs whose deadline passed (FAILED), and takes jobs away from workers that let their lease run out.

        The latter become QUEUED, DEAD or CANCELLED. Returns all these jobs. Call it several times per lease, from any
        number of processes. When nobody called it for longer than a lease, the server was away and workers could not
        renew: that call extends every lease once instead.
        """
        lost = Failure(
            FailureReason.LOST,
            "The worker stopped renewing its lease: its process or host died, or lost its connection to Redis.",
            retryable=True,
        )
        reaped = []
        with connection.translated(self._url, "look for expired leases"):
            await self._tenants.tidy()
            for tenant in await self._tenants.busy():
                tenant_keys = [keys.leases(tenant), keys.extended(tenant), keys.reaped(tenant), keys.deadlines(tenant)]
                expired, overdue = await self._scripts.expired(tenant_keys, [str(self._lease_ms)])
                for job_id in overdue:
                    answer = await self._run(self._scripts.expire, "end", tenant, job_id, _overdue())
                    if answer[0] == "OK":
                        reaped.append(codec.job_from(tenant, job_id, codec.pairs(answer[1])))
                for job_id in expired:
                    texts = (
                        codec.encode(lost),
                        str(self._retry_delay_ms),
                        str(self._chance()),
                        _cancelled("while it ran; its worker is gone"),
                    )
                    answer = await self._run(self._scripts.reap, "reap", tenant, job_id, *texts)
                    if answer[0] == "OK":
                        reaped.append(codec.job_from(tenant, job_id, codec.pairs(answer[1])))
        return reaped

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
        self._check_job_name(tenant, job_id)
        return await self._events.read(tenant, job_id, after_sequence, limit)

    async def wait_events(self, tenant: str, job_id: str, *, after_sequence: int, timeout_s: float) -> _Events:
        """As ``events``, but waits up to ``timeout_s`` for the first; an empty list then. Raises NotFoundError."""
        self._check_job_name(tenant, job_id)
        return await self._events.wait(tenant, job_id, after_sequence, timeout_s)

    async def _run_held(self, script: AsyncScript, action: str, claim: Claim, *arguments: str) -> _Answer:
        job = claim.job
        answer = await self._run(script, action, job.tenant, job.id, f"{claim.token}:{claim.nonce}", *arguments)
        if answer[0] == "FENCED":
            raise refusals.fenced(job.tenant, job.id, claim.token, action, answer[1], answer[2])
        return answer

    async def _ask(self, script: AsyncScript, action: str, tenant: str, job_id: str, *arguments: str) -> _Answer:
        """What a person asks: the job may come to life after a long time."""
        self._check_job_name(tenant, job_id)
        with connection.translated(self._url, f"{action} job {job_id}"):
            await self._tenants.touch(tenant)
        return await self._run(script, action, tenant, job_id, *arguments)

    async def _run(self, script: AsyncScript, action: str, tenant: str, job_id: str, *arguments: str) -> _Answer:
        self._check_job_name(tenant, job_id)
        with connection.translated(self._url, f"{action} job {job_id}"):
            answer: _Answer = await script(keys.of_job(tenant, job_id), [job_id, _new_call(), *arguments])
        if answer[0] == "NOT_FOUND":
            raise refusals.not_found(tenant, job_id)
        return answer

    def _check_job_name(self, tenant: str, job_id: str) -> None:
        check_tenant(tenant)
        if not is_job_id(job_id):
            raise refusals.not_found(tenant, job_id)


def _new_call() -> str:
    return uuid.uuid4().hex


def _claim(tenant: str, job_id: str, answer: _Answer) -> Claim:
    fields = codec.pairs(answer[1])
    job = codec.job_from(tenant, job_id, fields)
    now_ms = int(answer[3])
    return Claim(
        job=job,
        token=job.attempt,
        lease_expires_ms=int(float(answer[2])),
        nonce=fields["claim"],
        deadline_in_s=None if job.deadline_at_ms is None else (job.deadline_at_ms - now_ms) / 1000,
    )


def _cancelled(when: str) -> str:
    return codec.encode(Failure(FailureReason.CANCELLED, f"Cancelled on request {when}.", retryable=False))


def _overdue() -> str:
    message = "The job was not over within its deadline_s. Retry it, which counts anew, or submit it with a longer one."
    return codec.encode(Failure(FailureReason.DEADLINE, message, retryable=False))
