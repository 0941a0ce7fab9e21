"""JobArchive: each job's record beside what it made, so that Redis can be rebuilt from the blob store alone.

A record is immutable and named by its version. Several servers may write at once: whoever is late writes an older
version, and readers go by the newest.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from kdaif.errors import AlreadyExistsError, DataCorruptedError, NotFoundError
from kdaif.records import JobSnapshot
from kdaif.store import layout
from kdaif.store.blobs import BlobStore

_FORMAT = "kdaif-job"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class _Header:
    format: str
    format_version: int


@dataclass(frozen=True)
class _Record(_Header):
    snapshot: JobSnapshot


_HEADER = TypeAdapter(_Header)
_RECORD = TypeAdapter(_Record)


class JobArchive:
    """The records of all jobs. Threads may share one instance."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def save(self, snapshot: JobSnapshot) -> None:
        """Stores a snapshot, durable before it returns, and then drops older ones of the job.

        Raises:
            InvalidInputError: the name of the tenant cannot be part of a path.
            UnavailableError: the store is full or does not answer.
        """
        job = snapshot.job
        record = _Record(_FORMAT, _FORMAT_VERSION, snapshot)
        with suppress(AlreadyExistsError):  # another server was faster
            # A figure that is not finite must not make a job unreadable.
            data = to_json(record, inf_nan_mode="constants", indent=1)
            self._blobs.put_bytes(layout.job_record(job.tenant, job.id, snapshot.version), data)
        for version, path in self._versions(job.tenant, job.id):
            if version < snapshot.version:
                self._blobs.delete(path)

    def load(self, tenant: str, job_id: str) -> JobSnapshot:
        """The newest snapshot of a job.

        Raises:
            NotFoundError: there is none.
            DataCorruptedError: it is not what `save` writes, or was written by a later kdaif.
            UnavailableError: the store does not answer.
        """
        versions = self._versions(tenant, job_id)
        if not versions:
            raise NotFoundError(f"tenant {tenant!r} has no record of job {job_id} in the blob store")
        path = max(versions)[1]
        data = self._blobs.get_bytes(path)
        try:
            header = _HEADER.validate_json(data)
            if (header.format, header.format_version) != (_FORMAT, _FORMAT_VERSION):
                raise DataCorruptedError(
                    f"{path} has format {header.format!r} {header.format_version}; this kdaif reads {_FORMAT!r} "
                    f"{_FORMAT_VERSION}, so read it with the kdaif that wrote it"
                )
            snapshot = _RECORD.validate_json(data).snapshot
        except ValidationError as error:
            what = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in what["loc"]) or "the file"
            raise DataCorruptedError(
                f"{path} is no record of a job ({where}: {what['msg']}); put it back from a backup"
            ) from error
        if (snapshot.job.tenant, snapshot.job.id) != (tenant, job_id):
            raise DataCorruptedError(f"{path} is the record of job {snapshot.job.id} of {snapshot.job.tenant!r}")
        return snapshot

    def _versions(self, tenant: str, job_id: str) -> list[tuple[int, str]]:
        paths = self._blobs.files(layout.job_folder(tenant, job_id))
        return [(version, path) for path in paths if (version := layout.job_record_version(path)) is not None]


def delete_checkpoints(blobs: BlobStore, tenant: str, job_id: str) -> int:
    """Removes the checkpoints of all attempts of a job, and its shards: nobody needs them once it SUCCEEDED. How many?

    Raises:
        UnavailableError: the store does not answer.
    """
    paths = [blob.path for blob in blobs.entries(layout.job_folder(tenant, job_id))]
    found = [path for path in paths if layout.is_checkpoint(path) or layout.is_shard_file(path)]
    for path in found:
        blobs.delete(path)
    return len(found)


def delete_shards(blobs: BlobStore, tenant: str, job_id: str) -> int:
    """Removes the rows, solutions and scores of a job's shards; a later attempt makes them again. How many?

    Raises:
        UnavailableError: the store does not answer.
    """
    paths = [blob.path for blob in blobs.entries(layout.shards(tenant, job_id))]
    for path in paths:
        blobs.delete(path)
    return len(paths)


def delete_job(blobs: BlobStore, tenant: str, job_id: str) -> int:
    """Removes everything that a job left in the store, its record last, but no data set; tells how many blobs.

    May be called again after it was interrupted.

    Raises:
        UnavailableError: the store does not answer.
    """
    folder = layout.job_folder(tenant, job_id)
    paths = [blob.path for blob in blobs.entries(folder)]
    for path in sorted(paths, key=_rank):
        blobs.delete(path)
    blobs.prune(folder)
    return len(paths)


def _rank(path: str) -> tuple[bool, bool, str]:
    """Checkpoints go first, since they are large and needed least; the record goes last, for it names the rest."""
    return layout.job_record_version(path) is not None, not layout.is_checkpoint(path), path
