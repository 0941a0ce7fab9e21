"""One attempt at a job: a child that trains, and the lease under which it may."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from kdaif.errors import FailureReason, UnavailableError
from kdaif.queue import Claim, JobQueue
from kdaif.records import Failure, Job, Progress
from kdaif.telemetry import carried
from kdaif_worker.child_environment import Secrets
from kdaif_worker.child_process import Child
from kdaif_worker.kept_child import KeptChild
from kdaif_worker.lease import Lease, now_s
from kdaif_worker.messages import (
    Assignment,
    FailedMessage,
    GivenBackMessage,
    ProgressMessage,
    ReviewMessage,
    ShardDoneMessage,
    ShardScoredMessage,
    ShardsMessage,
    SucceededMessage,
)
from kdaif_worker.metrics import WatchedAttempt
from kdaif_worker.settings import WorkerSettings
from kdaif_worker.shard_desk import ShardDesk

_OUTAGE_S = 1.0
_WATCH_S = 5.0
_CANCEL_AGAIN_S = 0.2
_log = structlog.get_logger("kdaif.worker")


@dataclass(frozen=True)
class GivenBack:
    """The attempt ended for a reason that is not the job's."""

    why: str


Outcome = SucceededMessage | FailedMessage | ReviewMessage | ShardScoredMessage | GivenBack


class Attempt:
    """Runs the child of one claim, and tells the queue how it ended.

    Args:
        queue: that gave the claim.
        claim: the right to work.
        asked_s: when the claim was asked for, by `now_s`.
        settings: of the worker.
        watched: hears what the child tells.
        kept: gives it its child.
    """

    def __init__(
        self,
        queue: JobQueue,
        claim: Claim,
        asked_s: float,
        settings: WorkerSettings,
        watched: WatchedAttempt,
        kept: KeptChild,
    ) -> None:
        self._kept = kept
        self._queue = queue
        self._watched = watched
        self._claim = claim
        self._lease = Lease(settings.lease_ttl_s, asked_s)
        self._settings = settings
        self._secrets = Secrets(os.environ)
        self._child: Child | None = None
        self._progress = Progress("load", 0.0)
        self.rounds = 0
        """Rounds that the child has told of."""

    async def run(self, stopping: asyncio.Event) -> Outcome:
        """Until the child ends or must end; it is gone on return, but for one that has scored a shard (`KeptChild`).

        Raises:
            FencedError: the job was given to another attempt.
            NotFoundError: the job is gone.
        """
        spec = self._claim.job.spec
        async with self._kept.working_on(self._assignment()) as child:
            self._child = child
            # In the order of what counts where several end at once.
            ends: list[asyncio.Task[Outcome]] = [
                asyncio.create_task(end)
                for end in (
                    self._relay(child),
                    self._hold_lease(),
                    self._until_cancelled(),
                    _until_overdue(spec.max_runtime_s, _too_long(spec.max_runtime_s)),
                    *self._limits(child),
                    _until_stopped(stopping),
                )
            ]
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not _has_scored(ends[0]):
                    child.kill()
                await end_all(set(ends))
            # An exception, such as a lost lease, outranks a result.
            outcome = min((end for end in ends if end in done), key=lambda end: end.exception() is None).result()
            return self._told(outcome, child.log_tail())

    def kill(self) -> None:
        """Kills the child without waiting for its end."""
        if self._child is not None:
            self._child.kill()

    async def finish(self, outcome: Outcome, stopping: asyncio.Event) -> Job:
        """Tells the queue, however long it is away, unless the worker is to stop; the token makes repeating safe.

        Raises:
            FencedError: the job was given to another attempt; nothing of this one is published.
            NotFoundError: the job is gone.
            UnavailableError: the worker is to stop and the queue does not answer. The lease will run out.
        """
        queue, claim = self._queue, self._claim
        match outcome:
            case SucceededMessage():
                return await self._insist(lambda: queue.succeed(claim, outcome.result), stopping)
            case ShardScoredMessage():
                return await self._insist(lambda: queue.succeed(claim, None), stopping)
            case FailedMessage():
                return await self._insist(lambda: queue.fail(claim, outcome.failure), stopping)
            case ReviewMessage():
                return await self._insist(lambda: queue.await_review(claim, outcome.why), stopping)
            case GivenBack():
                return await self._insist(lambda: queue.give_back(claim, outcome.why), stopping)

    async def _insist(self, finish: Callable[[], Awaitable[Job]], stopping: asyncio.Event) -> Job:
        while True:
            try:
                await self._confirm()
                return await finish()
            except UnavailableError as error:
                if stopping.is_set():
                    raise
                _log.warning("the end of an attempt waits for the queue", job=self._claim.job.id, error=str(error))
                await _first_of(stopping.wait(), asyncio.sleep(_OUTAGE_S))

    async def _relay(self, child: Child) -> Outcome:
        """Passes the child's progress on, until its last word or its death."""
        desk = ShardDesk(self._queue, self._claim, self._settings.worker_name, self._tell_of_shards)
        async for message in child.messages():
            if isinstance(message, ShardsMessage | ShardDoneMessage):
                if (failed := await desk.answer(message, child)) is not None:
                    return failed
                continue
            if isinstance(message, GivenBackMessage):
                return GivenBack(message.why)
            if not isinstance(message, ProgressMessage):
                return message
            self._progress = message.progress
            self.rounds += bool(message.metrics)
            self._watched.told(message.progress.stage, message.metrics)
            await self._publish(_kind(message), message.progress, message.metrics)
        return FailedMessage(await child.death())

    async def _tell_of_shards(self, told: str) -> None:
        await self._publish("progress", dataclasses.replace(self._progress, message=told), {})

    async def _publish(self, kind: str, progress: Progress, metrics: dict[str, float]) -> None:
        try:
            await self._confirm()
            await self._queue.publish(self._claim, kind, progress, metrics)
        except UnavailableError as error:
            _log.warning("progress not published", job=self._claim.job.id, error=str(error))

    async def _confirm(self) -> None:
        """Before anything is published: a lease that may have run out, of a worker that was stopped, is asked for anew.

        The queue would refuse what follows, too; but not every reader of a log sees why.
        """
        if self._lease.remaining_s <= 0:
            _log.warning("the lease may have run out", job=self._claim.job.id, seconds_ago=-self._lease.remaining_s)
            await self._renew()

    async def _renew(self) -> bool:
        asked_s = now_s()
        wanted = await self._queue.renew(self._claim)
        self._lease.extend(asked_s)
        return wanted

    async def _hold_lease(self) -> Outcome:
        """Renews at a quarter of the lease. An outage is borne until the lease may have run out, and not longer."""
        ttl_s = self._settings.lease_ttl_s
        pause_s = ttl_s / 4
        while True:
            await asyncio.sleep(max(0.0, min(pause_s, self._lease.remaining_s)))
            try:
                # An answer after the end of the lease is worth nothing; after a sleep it is worth one try.
                if not await _within(max(self._lease.remaining_s, _OUTAGE_S), self._renew()):
                    return _cancelled()
                pause_s = ttl_s / 4
            except (UnavailableError, TimeoutError) as error:
                _log.warning("lease not renewed", remaining_s=round(self._lease.remaining_s, 1), error=str(error))
                if self._lease.remaining_s <= 0:
                    return GivenBack("No renewal reached the queue within the lease; the worker stopped its child.")
                pause_s = ttl_s / 16

    async def _until_cancelled(self) -> Outcome:
        """Follows the job's own events, which costs no write and answers a cancel at once."""
        job, after = self._claim.job, 0
        while True:
            try:
                events = await self._queue.wait_events(job.tenant, job.id, after_sequence=after, timeout_s=_WATCH_S)
            except UnavailableError:
                await asyncio.sleep(_OUTAGE_S)
                continue
            for event in events:
                if event.kind == "cancelling" and event.attempt == self._claim.token:
                    return _cancelled()
                after = event.sequence

    def _limits(self, child: Child) -> list[Any]:
        """What ends a child beyond the limits that were set."""
        ends: list[Any] = []
        if self._claim.deadline_in_s is not None:
            ends.append(_until_overdue(self._claim.deadline_in_s, _overdue(self._claim.job)))
        if self._settings.max_memory_mib is not None:
            ends.append(_over_memory(child, self._settings.max_memory_mib))
        return ends

    def _told(self, outcome: Outcome, log_tail: str) -> Outcome:
        """A failure as people may read it: with the end of the child's log, and without the worker's secrets."""
        if not isinstance(outcome, FailedMessage) or outcome.failure.reason is FailureReason.CANCELLED:
            return outcome
        failure = outcome.failure
        message, tail = map(self._secrets.blanked, (failure.message, failure.log_tail))
        return FailedMessage(dataclasses.replace(failure, message=message, log_tail=tail or log_tail))

    def _assignment(self) -> Assignment:
        settings, job = self._settings, self._claim.job
        return Assignment(
            tenant=job.tenant,
            job_id=job.id if job.shard is None else job.shard.job,
            attempt=self._claim.token,
            display_name=job.display_name,
            spec=job.spec,
            blob_url=settings.blob_url,
            cache_dir=settings.local_cache,
            threads=settings.threads,
            references=settings.references,
            trace=carried(),
            otlp_endpoint=settings.otlp_endpoint,
            call=job.origin.get("call", ""),
            shard=job.shard,
            shard_students=settings.shard_students,
        )


def ended_as(outcome: Outcome) -> str:
    """How it ended, in a word that metrics can have as a label."""
    match outcome:
        case SucceededMessage() | ShardScoredMessage():
            return "succeeded"
        case FailedMessage():
            return outcome.failure.reason.lower()
        case ReviewMessage():
            return "review"
        case GivenBack():
            return "given_back"


def _has_scored(relay: asyncio.Task[Outcome]) -> bool:
    """Whether the child has scored a shard, and so waits for another."""
    ended = relay.done() and not relay.cancelled() and relay.exception() is None
    return ended and isinstance(relay.result(), ShardScoredMessage)


async def end_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels until all have ended: a client library may turn a cancellation into an error of its own, once."""
    pending = tasks
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen, or asyncio complains of each that was not the first to end


async def _within(seconds: float, asked: Coroutine[Any, Any, bool]) -> bool:
    """The answer; TimeoutError where there is none in time, even of a library that will not be cancelled."""
    task = asyncio.create_task(asked)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # seen, though nobody asks
        task.cancel()
    if not done:
        raise TimeoutError(f"no answer within {seconds:.1f} s")
    return task.result()


async def _first_of(*waits: Awaitable[Any]) -> None:
    tasks = {asyncio.ensure_future(wait) for wait in waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_all(tasks)


async def _until_stopped(stopping: asyncio.Event) -> Outcome:
    await stopping.wait()
    return GivenBack("The worker was stopped.")


async def _until_overdue(seconds: float, message: str) -> Outcome:
    await asyncio.sleep(seconds)
    return FailedMessage(Failure(FailureReason.DEADLINE, message, retryable=False))


async def _over_memory(child: Child, most_mib: int) -> Outcome:
    return FailedMessage(await child.over_memory(most_mib))


def _too_long(max_runtime_s: int) -> str:
    return f"The attempt ran longer than max_runtime_s = {max_runtime_s}. Raise it, or train fewer rounds or seeds."


def _overdue(job: Job) -> str:
    return (
        f"The job was not over {job.spec.scheduling.deadline_s} s after it was submitted (scheduling.deadline_s). "
        "Allow more time, give it a higher priority, or run more workers."
    )


def _cancelled() -> FailedMessage:
    return FailedMessage(Failure(FailureReason.CANCELLED, "Cancelled by request.", retryable=False))


def _kind(message: ProgressMessage) -> str:
    if message.warning:
        return "warning"
    if not message.metrics:
        return "progress"
    return "canary" if message.progress.stage == "canary" else "round"
