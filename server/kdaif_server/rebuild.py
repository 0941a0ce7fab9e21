"""``kdaif-server rebuild-index``: jobs back into an empty Redis, from what the blob store keeps of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from kdaif.errors import DataCorruptedError, InvalidInputError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import JobState
from kdaif.store import BlobStore, JobArchive, layout


@dataclass
class Rebuilt:
    """What was found.

    Attributes:
        tenants: that have something in the store.
        restored: jobs put back, by the state that they had.
        present: jobs that Redis had already, or whose request id it had.
        lost: why each other job that left something in the store could not be restored.
        datasets: records of data sets; these need no rebuilding.
        students: succeeded jobs whose bundle can be read.
    """

    tenants: int = 0
    restored: Counter[JobState] = field(default_factory=Counter)
    present: int = 0
    lost: list[str] = field(default_factory=list)
    datasets: int = 0
    students: int = 0

    def lines(self) -> list[str]:
        """For people."""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.restored.items()))
        return [
            f"tenants: {self.tenants}",
            f"jobs restored: {self.restored.total()}" + (f" ({states})" if states else ""),
            f"jobs that were there already: {self.present}",
            f"jobs that could not be restored: {len(self.lost)}",
            *(f"  {why}" for why in self.lost),
            f"data sets: {self.datasets}",
            f"students: {self.students}",
        ]


async def rebuild_index(queue: JobQueue, blobs: BlobStore) -> Rebuilt:
    """Restores every job of the store that Redis does not have. May be called again, and beside running servers.

    Unfinished jobs come back QUEUED, those that were CANCELLING come back CANCELLED.

    Raises:
        UnavailableError: Redis or the store does not answer; what was restored stays.
    """
    archive, found = JobArchive(blobs), Rebuilt()
    tenants = await asyncio.to_thread(blobs.folders, layout.TENANTS)
    found.tenants = len(tenants)
    for tenant in tenants:
        found.datasets += await asyncio.to_thread(_count, blobs, layout.datasets(tenant))
        for job_id in await asyncio.to_thread(blobs.folders, layout.jobs(tenant)):
            await _restore(queue, blobs, archive, tenant, job_id, found)
    return found


def _count(blobs: BlobStore, folder: str) -> int:
    return sum(1 for _ in blobs.entries(folder))


async def _restore(
    queue: JobQueue, blobs: BlobStore, archive: JobArchive, tenant: str, job_id: str, found: Rebuilt
) -> None:
    try:
        snapshot = await asyncio.to_thread(archive.load, tenant, job_id)
        if await queue.restore(snapshot):
            found.restored[snapshot.job.state] += 1
        else:
            found.present += 1
    except (NotFoundError, DataCorruptedError, InvalidInputError) as error:
        found.lost.append(str(error))
        return
    result = snapshot.job.result
    if snapshot.job.state is JobState.SUCCEEDED and result is not None:
        manifest = layout.attempt_manifest(tenant, job_id, result.attempt)
        if await asyncio.to_thread(blobs.exists, manifest):
            found.students += 1
        else:
            found.lost.append(f"the student of job {job_id} of tenant {tenant!r}: {manifest} is not in the store")


async def is_index_lost(queue: JobQueue, blobs: BlobStore) -> bool:
    """Whether Redis knows no job of a tenant whose newest job has a record in the store. Looks at one tenant."""
    for tenant in await asyncio.to_thread(blobs.folders, layout.TENANTS):
        for job_id in (await asyncio.to_thread(blobs.folders, layout.jobs(tenant)))[-1:]:
            try:
                await asyncio.to_thread(JobArchive(blobs).load, tenant, job_id)
            except (NotFoundError, DataCorruptedError):
                continue
            return (await queue.list(tenant, limit=1))[0] == []
    return False
