"""What succeeded jobs left in the blob store. An attempt that was fenced off is never looked at."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from kdaif.errors import DataCorruptedError, FailedPreconditionError, NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, Job, JobState, WeightsShard
from kdaif.store import BlobStore, layout


class Artifacts:
    """Reads manifests, and keeps local copies of weights shards, which never change."""

    def __init__(self, queue: JobQueue, blobs: BlobStore, cache_dir: Path) -> None:
        self._queue = queue
        self.blobs = blobs
        self._cache_dir = cache_dir

    async def succeeded_job(self, tenant: str, job_id: str) -> Job:
        """The job. Raises NotFoundError, or FailedPreconditionError while it has no student."""
        job = await self._queue.get(tenant, job_id)
        if job.state is not JobState.SUCCEEDED or job.result is None:
            raise FailedPreconditionError(
                f"Job {job_id} is {job.state}; its student and weights can be read once it is SUCCEEDED. "
                "Watch it, or list jobs with state SUCCEEDED."
            )
        return job

    def manifest(self, job: Job) -> AttemptManifest:
        """What the attempt that finished ``job`` left."""
        if job.result is None:
            raise FailedPreconditionError(f"Job {job.id} has no result")
        return AttemptManifest.from_json(
            self.blobs.get_bytes(layout.attempt_manifest(job.tenant, job.id, job.result.attempt))
        )

    def weights_file(self, manifest: AttemptManifest, round_number: int) -> tuple[int, Path]:
        """Round and local Parquet file; round 0 means the last. Raises NotFoundError naming the rounds there are."""
        if not manifest.weights:
            raise NotFoundError("This job computed no weights: its weighting method is uniform.")
        by_round = {shard.round: shard for shard in manifest.weights}
        wanted = round_number or max(by_round)
        if wanted not in by_round:
            rounds = ", ".join(str(known) for known in sorted(by_round))
            raise NotFoundError(f"No weights for round {wanted}; there are rounds {rounds}. Use 0 for the last.")
        return wanted, self._local_copy(by_round[wanted])

    def _local_copy(self, shard: WeightsShard) -> Path:
        target = self._cache_dir / "weights" / f"{shard.sha256}.parquet"
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
            for chunk in self.blobs.iter_range(shard.path):
                digest.update(chunk)
                part.write(chunk)
        if digest.hexdigest() != shard.sha256:
            Path(part.name).unlink()
            raise DataCorruptedError(f"The weights of round {shard.round} do not match their hash in the blob store.")
        return Path(part.name).replace(target)
