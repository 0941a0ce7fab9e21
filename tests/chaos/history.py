"""What a run left behind, read once it is over: jobs and events from Redis, artifacts from the blob store."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow.parquet as pq

from kdaif.errors import KdaifError
from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, Job, JobEvent, JobState
from kdaif.store import BlobStore, layout
from tests.chaos.stand_in import Kind, kind_of
from tests.chaos.stand_in_shards import expected_weights

_EVENTS = 100_000
_PAGE = 1000
_ALL_SCORED = re.compile(r"influence: (\d+) of \1 shards")


@dataclass(frozen=True)
class Submitted:
    """A submission that was acknowledged. ``job_ids`` are those of all answers to its request id."""

    tenant: str
    request_id: str
    job_ids: frozenset[str]
    seen_ended: JobState | None = None


@dataclass(frozen=True)
class Uploaded:
    """An upload that was acknowledged."""

    tenant: str
    dataset_id: str
    sha256: str


@dataclass(frozen=True)
class Artifacts:
    """What readers see of a job.

    ``faults`` are the files that the manifest names and that are missing or differ; ``seen_attempt`` is what a client
    got from a server, None where it was refused. ``other_weights`` are those that were scored in shards and are not
    what they are without any harm.
    """

    manifest_attempt: int | None = None
    manifest_job: str = ""
    seen_attempt: int | None = None
    faults: tuple[str, ...] = ()
    other_weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobHistory:
    """One job with all its events."""

    job: Job
    events: Sequence[JobEvent]
    artifacts: Artifacts = field(default_factory=Artifacts)

    def __str__(self) -> str:
        job = self.job
        lines = [
            f"{job.tenant}/{job.id} {job.display_name}: {job.state} at attempt {job.attempt} of {job.max_attempts}, "
            f"result of attempt {job.result.attempt if job.result else None}, artifacts {self.artifacts}"
        ]
        lines += [
            f"  {event.sequence:4d} {event.time_ms} {event.kind:10} {event.state:10} attempt {event.attempt}"
            + (f" {event.metrics}" if event.metrics else "")
            + (f" {event.failure.reason}: {event.failure.message[:160]!r}" if event.failure else "")
            for event in self.events
        ]
        return "\n".join(lines)

    @property
    def shards_tried_again(self) -> int:
        """Of all scorings, as the job told at their ends."""
        told = [event.progress.message for event in self.events if event.progress is not None]
        return sum(message.count(" took ") for message in told if _ALL_SCORED.match(message))


async def read_histories(queue: JobQueue, blobs: BlobStore | None, tenants: Sequence[str]) -> list[JobHistory]:
    """Every job of every tenant; without ``blobs`` the artifacts are left out."""
    found = []
    for tenant in tenants:
        cursor = ""
        while True:
            page, cursor = await queue.list(tenant, limit=_PAGE, cursor=cursor)
            for job in page:
                events = await queue.events(tenant, job.id, after_sequence=0, limit=_EVENTS)
                found.append(JobHistory(job, events, _artifacts(job, blobs) if blobs else Artifacts()))
            if not cursor:
                break
    return found


def weights_of(job: Job, blobs: BlobStore) -> dict[int, bytes]:
    """Of a job that SUCCEEDED: the files of its weights by round."""
    if job.result is None:
        return {}
    manifest = AttemptManifest.from_json(
        blobs.get_bytes(layout.attempt_manifest(job.tenant, job.id, job.result.attempt))
    )
    return {shard.round: blobs.get_bytes(shard.path) for shard in manifest.weights}


def with_other_weights(history: JobHistory, blobs: BlobStore, unharmed: Mapping[int, bytes] | None) -> JobHistory:
    """With what of its weights is not as it is without harm, where others scored for it.

    Args:
        history: of the job.
        blobs: where its weights are.
        unharmed: weights of the real job that was neither cut nor harmed, by round; None where none could be trained.
    """
    kind, name = kind_of(history.job.display_name), history.job.display_name
    if kind not in (Kind.SHARDED, Kind.REAL_SHARDED) or history.job.result is None:
        return history
    try:
        found = weights_of(history.job, blobs)
    except KdaifError:
        return history  # among the faults already
    if kind is Kind.SHARDED:
        other = [f"round {number}" for number, data in found.items() if data != expected_weights(name, number)]
    elif unharmed is None:
        other = []  # told as what broke
    else:
        numbers = sorted(found.keys() | unharmed.keys())
        other = [f"round {number}" for number in numbers if not _same(found.get(number), unharmed.get(number))]
    return replace(history, artifacts=replace(history.artifacts, other_weights=tuple(other)))


def _same(one: bytes | None, other: bytes | None) -> bool:
    """To the bit, but for what the file says of the job that wrote it."""
    if one is None or other is None:
        return False
    tables = [pq.read_table(io.BytesIO(weights)).replace_schema_metadata(None) for weights in (one, other)]
    return bool(tables[0].equals(tables[1]))


def missing_uploads(uploads: Sequence[Uploaded], blobs: BlobStore) -> list[str]:
    """Acknowledged uploads whose bytes cannot be read with their hash."""
    missing = []
    for upload in uploads:
        try:
            blobs.get_bytes(layout.dataset(upload.tenant, upload.dataset_id))
            found = _sha256(blobs, layout.blob(upload.tenant, upload.sha256))
        except KdaifError as error:
            missing.append(f"{upload.tenant}/{upload.dataset_id}: {error}")
            continue
        if found != upload.sha256:
            missing.append(f"{upload.tenant}/{upload.dataset_id}: its bytes have hash {found}, not {upload.sha256}")
    return missing


def _artifacts(job: Job, blobs: BlobStore) -> Artifacts:
    """What the job's record leads to, as every reader goes."""
    if job.result is None:
        return Artifacts()
    path = layout.attempt_manifest(job.tenant, job.id, job.result.attempt)
    try:
        manifest = AttemptManifest.from_json(blobs.get_bytes(path))
    except KdaifError as error:
        return Artifacts(faults=(f"{path}: {error}",))
    named = {
        layout.bundle_file(job.tenant, job.id, manifest.attempt, file.path): file.sha256 for file in manifest.bundle
    }
    named |= {shard.path: shard.sha256 for shard in (*manifest.weights, manifest.evidence) if shard is not None}
    faults = tuple(fault for path, sha256 in named.items() if (fault := _fault(blobs, path, sha256)))
    return Artifacts(manifest.attempt, manifest.job, faults=faults)


def _fault(blobs: BlobStore, path: str, sha256: str) -> str:
    try:
        found = _sha256(blobs, path)
    except KdaifError as error:
        return f"{path}: {error}"
    return "" if found == sha256 else f"{path}: has hash {found}, not {sha256}"


def _sha256(blobs: BlobStore, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in blobs.iter_range(path):
        digest.update(chunk)
    return digest.hexdigest()
