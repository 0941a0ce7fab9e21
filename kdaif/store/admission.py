"""Whether an upload may begin or go on: a tenant's quota, and the room on the disks."""

from __future__ import annotations

from kdaif.records import Dataset
from kdaif.store import layout
from kdaif.store.blobs import BlobStore
from kdaif.store.room import Room, UploadLimits, on_one_disk, require_quota
from kdaif.store.uploads import Spool


class Admission:
    """Refuses uploads that would take more than there is."""

    def __init__(self, blobs: BlobStore, spool: Spool, limits: UploadLimits) -> None:
        self._blobs = blobs
        self._spool = spool
        self._limits = limits

    def admit(self, dataset: Dataset) -> None:
        """An upload is about to begin.

        Raises:
            QuotaExceededError: it would be more than the tenant may keep.
            UnavailableError: there is no room for so many bytes, or the blob store does not answer.
        """
        quota_bytes = self._limits.tenant_quota_bytes
        if quota_bytes is not None:
            require_quota(dataset.tenant, self.used_bytes(dataset.tenant), dataset.size_bytes, quota_bytes)
        self.require_room(dataset, dataset.size_bytes, "start")

    def require_room(self, dataset: Dataset, missing_bytes: int, doing: str) -> None:
        """Raises UnavailableError where an upload that lacks ``missing_bytes`` does not fit; ``doing``: ``start``."""
        what = f"{doing} the upload of data set {dataset.id}"
        self._spool.room.require(missing_bytes, what)
        store = self._blobs.local_root
        # On one disk, publishing copies nothing.
        if store is not None and not on_one_disk(store, self._spool.room.folder):
            Room(store, self._limits.disk_reserve_bytes).require(dataset.size_bytes, what)

    def used_bytes(self, tenant: str) -> int:
        """What counts towards a tenant's quota: uploaded data sets, and uploads in progress by their declared size.

        Costs one listing of the store: a request for a thousand data sets.

        Raises:
            UnavailableError: the store does not answer.
        """
        uploads = [found for name in self._spool.ids(tenant) if (found := self._spool.find(tenant, name))]
        declared = {layout.blob(tenant, upload.sha256): upload.size_bytes for upload in uploads}
        stored = {blob.path: blob.size_bytes for blob in self._blobs.entries(layout.blobs(tenant))}
        # By path: bytes that are published but whose upload has not ended yet count once.
        return sum((declared | stored).values())
