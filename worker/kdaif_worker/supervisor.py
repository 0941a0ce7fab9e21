"""The supervisor: claims a job, holds its lease, and lets a child process train.

It shares no interpreter with the training, so that nothing a job does can starve the lease; and it alone speaks to the
queue, so that a child that was fenced off has nobody to publish through.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable
from typing import Any

import structlog

from kdaif.errors import FailureReason, FencedError, KdaifError, NotFoundError, UnavailableError
from kdaif.queue import Claim, JobQueue
from kdaif.records import TERMINAL_STATES, Failure, Job, JobState, WorkerMode, WorkerOffer
from kdaif.store import BlobStore, delete_checkpoints, delete_shards
from kdaif.telemetry import span, start_span
from kdaif_worker.attempt import Attempt, GivenBack, end_all, ended_as
from kdaif_worker.crash_loop import CrashLoop
from kdaif_worker.kept_child import KeptChild
from kdaif_worker.lease import now_s
from kdaif_worker.messages import FailedMessage
from kdaif_worker.metrics import WorkerMetrics
from kdaif_worker.release import RELEASE
from kdaif_worker.settings import WorkerSettings

_IDLE_S = 0.2
_OUTAGE_S = 1.0
_log = structlog.get_logger("kdaif.worker")


class Supervisor:
    """Runs one job at a time until asked to stop.

    Args:
        queue: to take jobs from.
        settings: of the worker.
        gpus: that it offers.
        crash_loop: counts what dies at once.
        metrics: to keep.
    """

    def __init__(
        self,
        queue: JobQueue,
        settings: WorkerSettings,
        *,
        gpus: int = 0,
        crash_loop: CrashLoop | None = None,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._queue = queue
        self._metrics = metrics or WorkerMetrics({})
        self._settings = settings
        self._offer = WorkerOffer(settings.worker_name, gpus, frozenset(settings.labels))
        self._crash_loop = crash_loop or CrashLoop(settings.crash_pause_s)
        self._drained = asyncio.Event()
        self._kept = KeptChild(settings)
        self._attempt: Attempt | None = None
        self._job: Job | None = None
        self._gave_back = False
        self.is_ready = False
        """Whether the queue answered when it was last asked."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Claims and runs jobs until ``stopping`` is set or an operator drains the worker.

        When stopped, the job at hand goes back to the queue; when drained, it is finished first.
        """
        beats = asyncio.create_task(self._beat())
        try:
            while not (stopping.is_set() or self._drained.is_set()):
                asked_s, asked_ns = now_s(), time.time_ns()
                claim = await self._claim()
                pause_s = _IDLE_S if self.is_ready else _OUTAGE_S
                if claim is not None:
                    start_span("claim", claim.job.origin, start_ns=asked_ns).end()
                    with span("attempt", claim.job.origin, **_named(claim)):
                        await self._run_job(claim, asked_s, stopping)
                    pause_s = self._pause_after_job_s()
                else:
                    await self._kept.let_go()
                if pause_s:
                    await self._rest(pause_s, stopping)
        finally:
            await end_all({beats})
            await self._kept.let_go()
            self._set_ready(False)
            with contextlib.suppress(UnavailableError):
                await self._queue.leave(self._offer.name)

    def kill_child(self) -> None:
        """At once, for a worker that will not wait."""
        if self._attempt is not None:
            self._attempt.kill()

    async def _claim(self) -> Claim | None:
        try:
            claim = await self._queue.claim(self._offer, shards_of="" if self._settings.shares_jobs else RELEASE)
        except UnavailableError as error:
            self._set_ready(False, str(error))
            return None
        except Exception as error:
            # Such as a job's record that this version cannot read. It must not end the worker, nor spin it.
            _log.error("a claim broke", exc_info=error)
            self._set_ready(False, repr(error))
            return None
        self._set_ready(True)
        return claim

    async def _beat(self) -> None:
        """Says that the worker is there and what it does, and hears what an operator wants of it."""
        while True:
            try:
                mode = await self._queue.announce(self._offer, self._job, self._crash_loop.note)
                self._set_ready(True)
                if mode is WorkerMode.DRAINING and not self._drained.is_set():
                    _log.info("draining: this worker ends after the job at hand")
                    self._drained.set()
            except Exception as error:
                # Whatever it is, a worker that is not heard of must say so itself, and try again.
                self._set_ready(False, str(error))
            await asyncio.sleep(self._settings.lease_ttl_s / 4)

    def _set_ready(self, is_ready: bool, error: str = "") -> None:
        if is_ready != self.is_ready:
            if error:
                _log.warning("not ready: the queue does not answer", error=error)
            elif is_ready:
                _log.info("ready")
        self.is_ready = is_ready
        self._metrics.ready.set(is_ready)
        if (file := self._settings.ready_file) is not None:
            try:
                file.touch() if is_ready else file.unlink(missing_ok=True)
            except OSError as failed:
                _log.warning("ready file not kept", file=str(file), error=str(failed))

    def _pause_after_job_s(self) -> float:
        """For whatever is wrong here to pass, or for other workers to take the job."""
        if self._gave_back:
            self._gave_back = False
            return self._settings.crash_pause_s
        pause_s = self._crash_loop.pause_s()
        if pause_s:
            _log.error("crash loop", note=self._crash_loop.note, no_claim_for_s=round(pause_s, 1))
        return pause_s

    async def _rest(self, pause_s: float, stopping: asyncio.Event) -> None:
        waits: list[Awaitable[Any]] = [stopping.wait(), self._drained.wait()]
        tasks = {asyncio.ensure_future(wait) for wait in waits}
        try:
            await asyncio.wait(tasks, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_all(tasks)

    async def _run_job(self, claim: Claim, asked_s: float, stopping: asyncio.Event) -> None:
        log = _log.bind(tenant=claim.job.tenant, job=claim.job.id, attempt=claim.token, request_id=_call(claim))
        log.info("claimed")
        started = time.monotonic()
        watched = self._metrics.attempt_began()
        attempt = Attempt(self._queue, claim, asked_s, self._settings, watched, self._kept)
        self._attempt, self._job = attempt, _seen(claim.job)
        try:
            try:
                outcome = await attempt.run(stopping)
            except (FencedError, NotFoundError):
                raise
            except Exception as error:
                # Such as no process left to spawn. One job must not end the worker.
                log.error("attempt broke", exc_info=error)
                message = f"The worker could not run the attempt: {error!r}"
                outcome = FailedMessage(Failure(FailureReason.INTERNAL, message, retryable=True))
            seconds = time.monotonic() - started
            if isinstance(outcome, FailedMessage):
                failure = outcome.failure
                log.warning("attempt failed", reason=failure.reason, message=failure.message)
                # Several shards of one job are no several jobs.
                self._crash_loop.died(
                    _seen(claim.job).id, failure.reason, failure.message, seconds, rounds=attempt.rounds
                )
            elif isinstance(outcome, GivenBack):
                log.warning("given back", why=outcome.why)
                self._gave_back = True
            else:
                self._crash_loop.lived()
            job = await attempt.finish(outcome, stopping)
            if job.state in TERMINAL_STATES and job.shard is None:
                await asyncio.to_thread(_drop_leftovers, self._settings.blob_url, job)
            watched.ended(ended_as(outcome))
            log.info("finished", state=job.state, seconds=round(seconds, 1))
        except FencedError as error:
            self._metrics.fenced.inc()
            log.warning("fenced: nothing of this attempt is published", error=str(error))
        except NotFoundError as error:
            log.warning("the job is gone: nothing of this attempt is published", error=str(error))
        except UnavailableError as error:
            log.error("lost the queue; the lease will run out", error=str(error))
        except Exception as error:
            log.error("the end of an attempt could not be told; the lease will run out", exc_info=error)
        finally:
            watched.ended("lost")  # unless it was told how
            self._attempt, self._job = None, None


def _named(claim: Claim) -> dict[str, str | int]:
    return {"kdaif.tenant": claim.job.tenant, "kdaif.job": claim.job.id, "kdaif.attempt": claim.token}


def _seen(job: Job) -> Job:
    """What people see at work: the job that a shard belongs to."""
    return job if job.shard is None else dataclasses.replace(job, id=job.shard.job)


def _call(claim: Claim) -> str:
    """The request id of the call that submitted the job."""
    return claim.job.origin.get("call", "")


def _drop_leftovers(blob_url: str, job: Job) -> None:
    """What no retry goes on from. What stays behind on an error is waste, not harm."""
    delete = delete_checkpoints if job.state is JobState.SUCCEEDED else delete_shards
    try:
        delete(BlobStore.open(blob_url), job.tenant, job.id)
    except KdaifError as error:
        _log.warning("checkpoints or shards left behind", job=job.id, error=str(error))
