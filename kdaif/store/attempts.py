"""Which attempts of a job left something in the store."""

from __future__ import annotations

from kdaif.store import layout
from kdaif.store.blobs import BlobStore


def attempts_with_blobs(blobs: BlobStore, tenant: str, job_id: str, upto: int) -> list[int]:
    """The attempts from 1 to ``upto`` that left something, in ascending order, by one listing.

    Attempts have gaps of up to a thousand where Redis was rebuilt, so nobody should try each number.

    Raises:
        UnavailableError: the store does not answer.
    """
    numbers = (layout.attempt_number(folder) for folder in blobs.folders(layout.job_folder(tenant, job_id)))
    return sorted(number for number in numbers if number is not None and 1 <= number <= upto)
