"""What a server does beside answering: expired leases, the archive of jobs, retention, abandoned uploads.

Any number of servers may do all of it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from kdaif.errors import FailedPreconditionError, FailureReason, InvalidInputError, KdaifError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import TERMINAL_STATES, JobSnapshot, JobState
from kdaif.store import BlobStore, DatasetStore, JobArchive, LineStore, delete_checkpoints, delete_job, delete_shards
from kdaif_server.observability import ServerMetrics
from kdaif_server.settings import ServerSettings

_REAP_S = 5.0
_BATCH = 256
_DAY_S = 86_400.0
_log = structlog.get_logger("kdaif.server")

Round = tuple[Callable[[], Awaitable[None]], float]
"""What to do, and every how many seconds."""


class Upkeep:
    """The tasks, one call of each method being one round."""

    def __init__(
        self,
        settings: ServerSettings,
        queue: JobQueue,
        blobs: BlobStore,
        datasets: DatasetStore,
        metrics: ServerMetrics | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics or ServerMetrics()
        self._queue = queue
        self._blobs = blobs
        self._archive = JobArchive(blobs)
        self._datasets = datasets
        self._lines = LineStore(blobs)

    @contextlib.asynccontextmanager
    async def running(self, stopping: asyncio.Event, *also: Round) -> AsyncIterator[None]:
        """Runs every task during the block, and those of ``also``. On leaving, the archive is brought up to date."""
        settings = self._settings
        rounds: list[Round] = [
            (self.reap, min(settings.lease_ttl_s / 4, _REAP_S)),
            (self.archive, settings.archive_every_s),
            (self.retain, settings.sweep_every_s),
            (self.sweep, settings.sweep_every_s),
            *also,
        ]
        tasks = [asyncio.create_task(_repeat(work, every_s, stopping)) for work, every_s in rounds]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*tasks)
            await _once(self.archive)

    async def reap(self) -> None:
        """Takes jobs away from workers that are gone."""
        for job in await self._queue.reap():
            is_overdue = job.failure is not None and job.failure.reason is FailureReason.DEADLINE
            (self._metrics.deadlines_missed if is_overdue else self._metrics.lease_expiries).inc()
            told = "deadline passed" if is_overdue else "lease expired"
            _log.warning(told, tenant=job.tenant, job=job.id, attempt=job.attempt, state=job.state)

    async def archive(self) -> None:
        """Writes the jobs that changed into the blob store, and removes what deleted jobs left there."""
        for snapshot in await self._queue.unsaved(_BATCH):
            await self.save(snapshot)
        for tenant, job_id in await self._queue.deleted(_BATCH):
            blobs = await asyncio.to_thread(delete_job, self._blobs, tenant, job_id)
            await self._queue.erased(tenant, job_id)
            _log.info("job deleted", tenant=tenant, job=job_id, blobs=blobs)

    async def save(self, snapshot: JobSnapshot) -> None:
        """Writes one job, unless it is deleted by now."""
        job = snapshot.job
        try:
            await asyncio.to_thread(self._archive.save, snapshot)
        except InvalidInputError as error:
            # Written without a server, by a program of one's own; trying again would not help.
            _log.error("job cannot be archived", tenant=job.tenant, job=job.id, error=str(error))
        await self._queue.saved(job.tenant, job.id, snapshot.version)
        try:
            state = (await self._queue.get(job.tenant, job.id)).state
        except NotFoundError:
            # Deleted while it was written: the record must not bring it back one day.
            await asyncio.to_thread(delete_job, self._blobs, job.tenant, job.id)
            return
        # Its worker does this too, unless it died first.
        if state is JobState.SUCCEEDED:
            await asyncio.to_thread(delete_checkpoints, self._blobs, job.tenant, job.id)
        elif state in TERMINAL_STATES:
            await asyncio.to_thread(delete_shards, self._blobs, job.tenant, job.id)

    async def retain(self) -> None:
        """Deletes jobs that ended longer ago than they are kept, but for those whose student devices run."""
        if self._settings.keep_finished_days is None:
            return
        before_ms = round((time.time() - self._settings.keep_finished_days * _DAY_S) * 1000)
        kept: set[tuple[str, str]] = set()
        while names := set(await self._queue.ended_before(before_ms, _BATCH + len(kept))) - kept:
            deleted = 0
            tenants = {tenant for tenant, _ in names}
            in_use = {tenant: await asyncio.to_thread(self._in_use, tenant) for tenant in tenants}
            run = {(tenant, job_id) for tenant, job_id in names if job_id in in_use[tenant]}
            kept |= run
            for tenant, job_id in names - run:
                with contextlib.suppress(NotFoundError, FailedPreconditionError):  # deleted or retried meanwhile
                    await self._queue.delete(tenant, job_id)
                    deleted += 1
            if not (deleted or run):
                return
            _log.info("old jobs deleted", jobs=deleted, keep_finished_days=self._settings.keep_finished_days)

    def _in_use(self, tenant: str) -> dict[str, str]:
        try:
            return self._lines.in_use(tenant)
        except InvalidInputError:
            return {}  # submitted without a server, under a name that the store has no folder for

    async def sweep(self) -> None:
        """Gives up uploads that nobody goes on with."""
        max_age_s = self._settings.keep_unfinished_uploads_days * _DAY_S
        given_up = await asyncio.to_thread(self._datasets.sweep, max_age_s)
        if given_up:
            _log.info("abandoned uploads given up", datasets=given_up)


async def _repeat(work: Callable[[], Awaitable[None]], every_s: float, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await _once(work)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), every_s)


async def _once(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except KdaifError as error:
        _log.error("upkeep failed, it is tried again", task=work.__name__, error=str(error))
    except Exception as error:
        # Whatever it is must not end the task unseen: nobody would reap or archive any more.
        _log.error("upkeep broke, it is tried again", task=work.__name__, exc_info=error)
