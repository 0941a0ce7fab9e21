"""Whether the bytes of an upload are those that were declared, and what they hold."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from kdaif.errors import DataCorruptedError, FailedPreconditionError
from kdaif.records import Dataset, DatasetState
from kdaif.store.failures import translated
from kdaif.store.kinds import Inspectors
from kdaif.store.uploads import Spool


def verified(dataset: Dataset, spool: Spool, inspectors: Inspectors) -> Dataset:
    """The data set as READY, with what its file holds.

    Raises:
        FailedPreconditionError: bytes are missing.
        DataCorruptedError: the bytes do not have the declared hash.
        InvalidInputError: they are no readable file of the kind.
        UnavailableError: the spool cannot be read.
    """
    size = spool.durable_bytes(dataset)
    if size != dataset.size_bytes:
        raise FailedPreconditionError(
            f"data set {dataset.id} has {size} of {dataset.size_bytes} bytes; send the rest from {size} on"
        )
    part = spool.part(dataset.tenant, dataset.id)
    with translated(f"read the upload of data set {dataset.id}"), part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != dataset.sha256:
        raise DataCorruptedError(
            f"data set {dataset.id} was declared with hash {dataset.sha256} but its bytes have {digest}; the "
            "upload is discarded, so declare it again and send the file from the start"
        )
    return replace(dataset, state=DatasetState.READY, **inspectors.inspect(part, dataset.kind).__dict__)
