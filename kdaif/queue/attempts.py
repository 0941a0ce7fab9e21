"""What a worker asks of the queue: a job, and then what becomes of it. Each is one run of one script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import ClusterCrossSlotError

from kdaif.errors import InvalidInputError
from kdaif.queue import codec, connection, endings, keys, refusals
from kdaif.queue.claim import Claim
from kdaif.queue.scripts import Script, Scripts
from kdaif.queue.shards import LABEL as SHARDS_LABEL
from kdaif.queue.tenants import Tenants
from kdaif.queue.transitions import Backoff, new_call, run
from kdaif.queue.turns import Turns
from kdaif.records import Failure, Job, JobResult, JobState, Progress, WorkerOffer

# Written by transitions alone; a worker that published one of these would mislead every watcher.
_RESERVED_KINDS = frozenset({"queued", "claimed", "requeued", "cancelling", "review", "restored", "finished"})


class Attempts:
    """Claims jobs, and moves them as long as the claim holds. Its methods are those of `JobQueue`."""

    def __init__(self, url: str, scripts: Scripts, tenants: Tenants, lease_ms: int, backoff: Backoff) -> None:
        self._url = url
        self._scripts = scripts
        self._tenants = tenants
        self._turns = Turns()
        self._lease_ms = lease_ms
        self._backoff = backoff

    async def claim(self, offer: WorkerOffer, *, shards_of: str = "") -> Claim | None:
        """Takes the next job that the worker may run, or returns None at once; always None while it is not ACTIVE.

        The tenant with the fewest jobs under way comes first, and equals take turns. Of one tenant's jobs the most
        urgent comes first, and of equally urgent ones the oldest. Costs a look per busy tenant and per combination of
        needs in line, however many jobs wait.

        Args:
            offer: who takes it, and what it brings.
            shards_of: the release whose shards of other jobs' scorings it takes too (`Job.shard`); empty for none.
        """
        labels = sorted(offer.labels | {f"{SHARDS_LABEL}{shards_of}"} if shards_of else offer.labels)
        with connection.translated(self._url, "claim a job"):
            lone = self._tenants.lone
            if lone is not None:
                answer = await self._claim_alone(lone, offer, labels)
                if answer[0] != "OTHERS":
                    return self._served(lone, answer)
            for tenant in self._turns.order(await self._tenants.running(offer.name)):
                claim = self._served(tenant, await self._claim_of(tenant, offer, labels))
                if claim is not None:
                    return claim
        return None

    async def _claim_alone(self, tenant: str, offer: WorkerOffer, labels: Sequence[str]) -> list[Any]:
        try:
            return await self._claim_of(tenant, offer, labels, also=[keys.MODES, keys.BUSY])
        except ClusterCrossSlotError:
            # A node of a Cluster that is addressed as one server. It looks at the keys before it runs anything.
            self._tenants.lie_apart()
            return ["OTHERS"]

    async def _claim_of(
        self, tenant: str, offer: WorkerOffer, labels: Sequence[str], also: Sequence[str] = ()
    ) -> list[Any]:
        needs = [str(self._lease_ms), endings.OVERDUE, str(offer.gpus), tenant, *labels]
        answer: list[Any] = await self._scripts.claim(
            [*keys.of_job(tenant, ""), *also], ["", new_call(), offer.name, *needs]
        )
        return answer

    def _served(self, tenant: str, answer: list[Any]) -> Claim | None:
        if answer[0] != "OK":
            return None
        self._turns.served(tenant)
        return _claim(tenant, answer)

    async def renew(self, claim: Claim) -> bool:
        """Extends the lease by ``lease_ttl_s`` from now. False: the job is to be cancelled; stop, then call ``fail``.

        Raises:
            FencedError: the job was given to another attempt or has ended; stop, and publish nothing.
        """
        answer = await self.run_held(self._scripts.renew, "renew the lease of", claim, str(self._lease_ms))
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
        await self.run_held(self._scripts.publish, "publish progress of", claim, kind, *texts)

    async def succeed(self, claim: Claim, result: JobResult | None) -> Job:
        """The job SUCCEEDED; or CANCELLED, without its result, when somebody asked for that before.

        The same call again is an acknowledgement. A shard has no result but its scores, in the blob store.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        texts = ("" if result is None else codec.encode(result), endings.cancelled("while it ran"))
        answer = await self.run_held(self._scripts.succeed, "finish", claim, *texts)
        return codec.moved(claim.job, codec.answered(answer[1]))

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
            *self._backoff.arguments(),
            endings.cancelled("while it ran"),
        )
        answer = await self.run_held(self._scripts.fail, "fail", claim, *texts)
        return codec.moved(claim.job, codec.answered(answer[1]))

    async def await_review(self, claim: Claim, why: str) -> Job:
        """The job is AWAITING_REVIEW until a person resumes, rejects or cancels it; its worker is free.

        CANCELLED when somebody asked for that before. The same call again is an acknowledgement.

        Args:
            claim: of the attempt that raises the alarm.
            why: for people; becomes the job's failure, with reason REVIEW.

        Raises:
            FencedError: the attempt no longer holds the job.
        """
        failure = endings.for_review(why)
        texts = (failure, endings.cancelled("while it ran"))
        answer = await self.run_held(self._scripts.await_review, "hold for review", claim, *texts)
        return codec.moved(claim.job, codec.answered(answer[1]))

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
        failure = endings.given_back(why)
        texts = (failure, endings.cancelled("while it ran"))
        answer = await self.run_held(self._scripts.give_back, "give back", claim, *texts)
        return codec.moved(claim.job, codec.answered(answer[1]))

    async def run_held(self, script: Script, action: str, claim: Claim, *arguments: str) -> list[Any]:
        """What a script answers that the claim must hold for. Raises FencedError."""
        job = claim.job
        answer = await run(self._url, script, action, job.tenant, job.id, f"{claim.token}:{claim.nonce}", *arguments)
        if answer[0] == "FENCED":
            raise refusals.fenced(job.tenant, job.id, claim.token, action, answer[1], answer[2])
        return answer


def _claim(tenant: str, answer: list[Any]) -> Claim:
    _, moving, as_submitted, job_id, lease_expires_ms, now_ms = answer
    fields = codec.answered(moving, as_submitted)
    job = codec.job_from(tenant, job_id, fields)
    return Claim(
        job=job,
        token=job.attempt,
        lease_expires_ms=int(float(lease_expires_ms)),
        nonce=fields["claim"],
        deadline_in_s=None if job.deadline_at_ms is None else (job.deadline_at_ms - now_ms) / 1000,
    )
