"""Which data sets there are: records in the blob store, and uploads in progress in the spool."""

from __future__ import annotations

import builtins
from pathlib import Path

from kdaif.errors import NotFoundError
from kdaif.records import Dataset
from kdaif.store import layout
from kdaif.store.blobs import BlobStore
from kdaif.store.uploads import RECORD, Spool


class DatasetRecords:
    """Looks in both places.

    Args:
        blobs: of the records.
        spool: of the uploads.
    """

    def __init__(self, blobs: BlobStore, spool: Spool) -> None:
        self._blobs = blobs
        self._spool = spool

    def ready(self, tenant: str, dataset_id: str) -> Dataset | None:
        """The one that jobs may read, stored or registered."""
        try:
            return RECORD.validate_json(self._blobs.get_bytes(layout.dataset(tenant, dataset_id)))
        except NotFoundError:
            return None

    def known(self, tenant: str, dataset_id: str) -> Dataset | None:
        """Stored bytes, else an upload in progress, else a file that stays where it is."""
        ready = self.ready(tenant, dataset_id)
        if ready is not None and not ready.uri:
            return ready
        return self._spool.find(tenant, dataset_id) or self.ready(tenant, dataset_id)

    def either(self, tenant: str, dataset_id: str) -> Dataset | None:
        """The one that jobs may read, else an upload in progress."""
        return self.ready(tenant, dataset_id) or self._spool.find(tenant, dataset_id)

    def get(self, tenant: str, dataset_id: str) -> Dataset:
        """As `either`. Raises NotFoundError."""
        # Published between the two looks: the record appears before the upload ends.
        dataset = self.either(tenant, dataset_id) or self.ready(tenant, dataset_id)
        if dataset is None:
            raise NotFoundError(f"tenant {tenant!r} has no data set {dataset_id}; create it and upload its bytes")
        return dataset

    def list(self, tenant: str, *, after: str, limit: int) -> tuple[builtins.list[Dataset], str]:
        """A page in the order of the ids after ``after``, and the cursor of the next one or ""."""
        after_path = layout.dataset(tenant, after) if after else ""
        stored = self._blobs.list(layout.datasets(tenant), after=after_path, limit=limit + 1)
        ready = [Path(path).stem for path in stored]
        uploading = [found for found in self._spool.ids(tenant) if found > after]
        ids = sorted({*ready, *uploading})
        found = (self.either(tenant, dataset_id) for dataset_id in ids[:limit])
        page = [dataset for dataset in found if dataset is not None]  # else deleted since the listing
        return page, ids[limit - 1] if len(ids) > limit else ""
