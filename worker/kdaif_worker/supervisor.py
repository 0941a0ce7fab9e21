"""The supervisor: claims a job, holds its lease, and lets a child process train.

It shares no interpreter with the training, so that nothing a job does can starve the lease; and it alone speaks to the
queue, so that a child that was fenced off has nobody to publish through.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from kdaif.errors import FailureReason, FencedError, KdaifError, UnavailableError
from kdaif.queue import Claim, JobQueue
from kdaif.records import Failure, Job, JobState, WorkerOffer
from kdaif.store import BlobStore, layout
from kdaif_worker.child_process import Child
from kdaif_worker.messages import Assignment, FailedMessage, ProgressMessage, SucceededMessage
from kdaif_worker.settings import WorkerSettings

_IDLE_S = 0.2
_OUTAGE_S = 1.0
_WATCH_S = 5.0
_CANCEL_AGAIN_S = 0.2
_log = structlog.get_logger("kdaif.worker")


class Supervisor:
    """Runs one job at a time until asked to stop."""

    def __init__(self, queue: JobQueue, settings: WorkerSettings) -> None:
        self._queue = queue
        self._settings = settings

    async def run(self, stopping: asyncio.Event) -> None:
        """Claims and runs jobs until ``stopping`` is set; the job at hand then goes back to the queue."""
        while not stopping.is_set():
            pause_s = _IDLE_S
            try:
                claim = await self._queue.claim(WorkerOffer(self._settings.worker_name))
            except UnavailableError as error:
                _log.warning("queue does not answer", error=str(error))
                claim, pause_s = None, _OUTAGE_S
            if claim is not None:
                await self._run_job(claim, stopping)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause_s)

    async def _run_job(self, claim: Claim, stopping: asyncio.Event) -> None:
        log = _log.bind(tenant=claim.job.tenant, job=claim.job.id, attempt=claim.token)
        log.info("claimed")
        started = time.monotonic()
        try:
            outcome = await self._attempt(claim, stopping)
            if isinstance(outcome, SucceededMessage):
                job = await _insist(lambda: self._queue.succeed(claim, outcome.result), self._settings.lease_ttl_s)
            else:
                job = await _insist(lambda: self._queue.fail(claim, outcome.failure), self._settings.lease_ttl_s)
                log.warning("attempt failed", reason=outcome.failure.reason, message=outcome.failure.message)
            if job.state is JobState.SUCCEEDED:
                await asyncio.to_thread(_drop_checkpoints, self._settings.blob_url, job)
            log.info("finished", state=job.state, seconds=round(time.monotonic() - started, 1))
        except FencedError as error:
            log.warning("fenced: nothing of this attempt is published", error=str(error))
        except UnavailableError as error:
            log.error("lost the queue; the lease will run out", error=str(error))
        except Exception as error:
            # Such as no process left to spawn. One job must not end the worker.
            log.error("attempt broke", exc_info=error)
            broke = Failure(FailureReason.INTERNAL, f"The worker could not run the attempt: {error!r}", retryable=True)
            with contextlib.suppress(FencedError, UnavailableError):
                await self._queue.fail(claim, broke)

    async def _attempt(self, claim: Claim, stopping: asyncio.Event) -> SucceededMessage | FailedMessage:
        """Runs the child until it ends or must end. Raises FencedError when the lease is lost."""
        settings, job = self._settings, claim.job
        assignment = Assignment(
            tenant=job.tenant,
            job_id=job.id,
            attempt=claim.token,
            display_name=job.display_name,
            spec=job.spec,
            blob_url=settings.blob_url,
            cache_dir=settings.local_cache,
            threads=settings.threads,
            references=settings.references,
        )
        async with Child.started(assignment) as child:
            ends = {
                asyncio.create_task(self._relay(claim, child)),
                asyncio.create_task(self._hold_lease(claim)),
                asyncio.create_task(self._until_cancelled(claim)),
                asyncio.create_task(_until_stopped(stopping)),
                asyncio.create_task(_until_deadline(job.spec.max_runtime_s)),
            }
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                child.kill()
                await _end_all(ends)
        # Where two ended at once, an exception (a lost lease) outranks a result.
        return min(done, key=lambda task: task.exception() is None).result()

    async def _relay(self, claim: Claim, child: Child) -> SucceededMessage | FailedMessage:
        """Passes the child's progress on, until its last word or its death."""
        async for message in child.messages():
            if not isinstance(message, ProgressMessage):
                return message
            kind = _kind(message)
            try:
                await self._queue.publish(claim, kind, message.progress, message.metrics)
            except UnavailableError as error:
                _log.warning("progress not published", job=claim.job.id, error=str(error))
        return FailedMessage(await child.death())

    async def _hold_lease(self, claim: Claim) -> FailedMessage:
        """Renews at a quarter of the lease. An outage is borne until the lease must have run out, and not longer."""
        ttl_s = self._settings.lease_ttl_s
        expires = time.monotonic() + ttl_s
        while True:
            await asyncio.sleep(ttl_s / 4)
            asked = time.monotonic()
            try:
                if not await self._queue.renew(claim):
                    return _cancelled()
                expires = asked + ttl_s
            except UnavailableError as error:
                if time.monotonic() >= expires:
                    raise FencedError(
                        "No renewal reached the queue within the lease; another worker may run it."
                    ) from error

    async def _until_cancelled(self, claim: Claim) -> FailedMessage:
        """Follows the job's own events, which costs no write and answers a cancel at once."""
        after = 0
        while True:
            try:
                events = await self._queue.wait_events(
                    claim.job.tenant, claim.job.id, after_sequence=after, timeout_s=_WATCH_S
                )
            except UnavailableError:
                await asyncio.sleep(_OUTAGE_S)
                continue
            for event in events:
                if event.kind == "cancelling" and event.attempt == claim.token:
                    return _cancelled()
                after = event.sequence


def _kind(message: ProgressMessage) -> str:
    if not message.metrics:
        return "progress"
    return "canary" if message.progress.stage == "canary" else "round"


def _drop_checkpoints(blob_url: str, job: Job) -> None:
    """Nobody resumes a job that has its student. What stays behind on an error is waste, not harm."""
    try:
        blobs = BlobStore.open(blob_url)
        for attempt in range(1, job.attempt + 1):
            for path in blobs.list(layout.checkpoints(job.tenant, job.id, attempt)):
                blobs.delete(path)
    except KdaifError as error:
        _log.warning("checkpoints left behind", job=job.id, error=str(error))


async def _end_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels until all have ended: a client library may turn a cancellation into an error of its own, once."""
    pending = tasks
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


async def _until_stopped(stopping: asyncio.Event) -> FailedMessage:
    await stopping.wait()
    return FailedMessage(Failure(FailureReason.LOST, "The worker was stopped; the job goes back.", retryable=True))


async def _until_deadline(max_runtime_s: int) -> FailedMessage:
    await asyncio.sleep(max_runtime_s)
    message = f"The attempt ran longer than max_runtime_s = {max_runtime_s}. Raise it, or train fewer rounds or seeds."
    return FailedMessage(Failure(FailureReason.DEADLINE, message, retryable=False))


def _cancelled() -> FailedMessage:
    return FailedMessage(Failure(FailureReason.CANCELLED, "Cancelled by request.", retryable=False))


async def _insist(finish: Callable[[], Awaitable[Job]], ttl_s: float) -> Job:
    """Repeats a finish through an outage for up to one lease; the token makes repeating safe.

    The lease is not renewed meanwhile: if it runs out first, the finish is refused as fenced, which is right.
    """
    give_up = time.monotonic() + ttl_s
    while True:
        try:
            return await finish()
        except UnavailableError:
            if time.monotonic() >= give_up:
                raise
            await asyncio.sleep(_OUTAGE_S)
