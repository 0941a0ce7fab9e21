"""Bytes at rest: blobs by path, data sets with resumable uploads, records of jobs. Nothing else touches disks."""

from kdaif.store import layout
from kdaif.store.allowed_places import AllowedBuckets, AllowedRoots, Listed, written
from kdaif.store.attempts import attempts_with_blobs
from kdaif.store.audit import AuditLog
from kdaif.store.blobs import BlobStore
from kdaif.store.datasets import DatasetStore
from kdaif.store.job_archive import JobArchive, delete_checkpoints, delete_job, delete_shards
from kdaif.store.lines import LineStore
from kdaif.store.references import References
from kdaif.store.room import UploadLimits
from kdaif.store.uploads import UploadWriter

__all__ = [
    "AllowedBuckets",
    "AllowedRoots",
    "AuditLog",
    "BlobStore",
    "DatasetStore",
    "JobArchive",
    "LineStore",
    "Listed",
    "References",
    "UploadLimits",
    "UploadWriter",
    "attempts_with_blobs",
    "delete_checkpoints",
    "delete_job",
    "delete_shards",
    "layout",
    "written",
]
