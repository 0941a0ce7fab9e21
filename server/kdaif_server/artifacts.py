"""What jobs left in the blob store once they succeeded or await a review. A fenced attempt is never looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from kdaif.errors import FailedPreconditionError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, Job, JobState
from kdaif.records.evidence import EvidenceSearch
from kdaif.store import AuditLog, BlobStore, layout
from kdaif_server.weights.shard import Shard
from kdaif_server.weights.shard_files import ShardFiles

_SHARD_CACHE_BYTES = 40 * 2**30


class Artifacts:
    """Reads manifests and weights shards."""

    def __init__(self, queue: JobQueue, blobs: BlobStore, cache_dir: Path) -> None:
        self._queue = queue
        self.blobs = blobs
        self.audit = AuditLog(blobs)
        self._shards = ShardFiles(blobs, cache_dir / "weights", _SHARD_CACHE_BYTES)

    async def job(self, tenant: str, job_id: str) -> Job:
        """A job in whatever state. Raises NotFoundError."""
        return await self._queue.get(tenant, job_id)

    async def succeeded_job(self, tenant: str, job_id: str) -> Job:
        """The job. Raises NotFoundError, or FailedPreconditionError while it has no student."""
        job = await self._queue.get(tenant, job_id)
        if job.state is not JobState.SUCCEEDED or job.result is None:
            raise FailedPreconditionError(
                f"Job {job_id} is {job.state}; its student and weights can be read once it is SUCCEEDED. "
                "Watch it, or list jobs with state SUCCEEDED."
            )
        return job

    async def weighed_job(self, tenant: str, job_id: str) -> Job:
        """A job whose weights can be read. Raises NotFoundError, or FailedPreconditionError while there are none."""
        job = await self._queue.get(tenant, job_id)
        return job if job.state is JobState.AWAITING_REVIEW else await self.succeeded_job(tenant, job_id)

    def manifest(self, job: Job) -> AttemptManifest:
        """What the attempt left that finished ``job``, or that put it before a person.

        Raises:
            FailedPreconditionError: the job is in another state, or paused by a worker that left nothing to look at.
        """
        if job.state is JobState.AWAITING_REVIEW:
            path = layout.review_manifest(job.tenant, job.id, job.attempt)
            try:
                return AttemptManifest.from_json(self.blobs.get_bytes(path))
            except NotFoundError as error:
                raise FailedPreconditionError(
                    f"The worker that put job {job.id} up for review left no weights to look at; it is of an older "
                    "version. Resume the job, and look when it has succeeded."
                ) from error
        if job.result is None:
            raise FailedPreconditionError(f"Job {job.id} has no result")
        return AttemptManifest.from_json(
            self.blobs.get_bytes(layout.attempt_manifest(job.tenant, job.id, job.result.attempt))
        )

    def weights(self, manifest: AttemptManifest, round_number: int) -> tuple[int, Shard]:
        """Round and its shard; round 0 means the last. Raises NotFoundError naming the rounds there are."""
        if not manifest.weights:
            raise NotFoundError("This job computed no weights: its weighting method is uniform.")
        by_round = {shard.round: shard for shard in manifest.weights}
        wanted = round_number or max(by_round)
        if wanted not in by_round:
            rounds = ", ".join(str(known) for known in sorted(by_round))
            raise NotFoundError(f"No weights for round {wanted}; there are rounds {rounds}. Use 0 for the last.")
        return wanted, self._shards.shard(by_round[wanted])

    def evidence(self, manifest: AttemptManifest) -> tuple[EvidenceSearch, Shard] | None:
        """How samples were explained, and the explained ones; None where the job explained none."""
        if manifest.evidence is None:
            return None
        shard = self._shards.shard(manifest.evidence)
        return EvidenceSearch.from_metadata(shard.schema.metadata), shard

    def history(self, manifest: AttemptManifest, ids: Sequence[str]) -> list[tuple[int, pa.Table]]:
        """The rows of ``ids`` in every scored round, with its number. Raises NotFoundError where there are none."""
        found = []
        for number in sorted(shard.round for shard in manifest.weights) or [0]:
            _, shard = self.weights(manifest, number)
            found.append((number, shard.rows_of(list(ids))))
        return found
