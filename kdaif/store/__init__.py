"""Bytes at rest: blobs by path, data sets with resumable uploads. Nothing else touches disks or object stores."""

from kdaif.store import layout
from kdaif.store.allowed_places import AllowedBuckets, AllowedRoots, written
from kdaif.store.blobs import BlobStore
from kdaif.store.datasets import DatasetStore
from kdaif.store.references import References
from kdaif.store.uploads import UploadWriter

__all__ = [
    "AllowedBuckets",
    "AllowedRoots",
    "BlobStore",
    "DatasetStore",
    "References",
    "UploadWriter",
    "layout",
    "written",
]
