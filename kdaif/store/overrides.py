"""The append-only record of what people decided on the samples of a job."""

from __future__ import annotations

from collections.abc import Sequence

from kdaif.errors import AlreadyExistsError, FailedPreconditionError
from kdaif.records.overrides import Override, OverrideRevision
from kdaif.store import layout
from kdaif.store.blobs import BlobStore

MOST_REVISIONS = 10_000


def read_overrides(blobs: BlobStore, tenant: str, job: str, *, up_to: int | None = None) -> list[OverrideRevision]:
    """Every revision, oldest first, or those up to one of them.

    Raises:
        UnavailableError: the store does not answer.
    """
    paths = blobs.list(layout.override_revisions(tenant, job), limit=MOST_REVISIONS)
    revisions = [OverrideRevision.from_json(blobs.get_bytes(path)) for path in paths]
    return [each for each in revisions if up_to is None or each.revision <= up_to]


def append_overrides(
    blobs: BlobStore, tenant: str, job: str, overrides: Sequence[Override], *, author: str, reason: str, time_ms: int
) -> OverrideRevision:
    """Adds a revision; of two who write at the same time each gets a number of its own.

    Raises:
        FailedPreconditionError: the job has ``MOST_REVISIONS`` already.
        UnavailableError: the store is full or does not answer.
    """
    paths = blobs.list(layout.override_revisions(tenant, job), limit=MOST_REVISIONS)
    # Revision 0 may be there or not: what a re-run inherits.
    number = OverrideRevision.from_json(blobs.get_bytes(paths[-1])).revision + 1 if paths else 1
    while number <= MOST_REVISIONS:
        revision = OverrideRevision(number, author, reason, time_ms, tuple(overrides))
        try:
            blobs.put_bytes(layout.override_revision(tenant, job, number), revision.to_json())
        except AlreadyExistsError:
            number += 1
            continue
        return revision
    raise FailedPreconditionError(
        f"job {job} has {MOST_REVISIONS:,} revisions of overrides; run it again with them, and go on from that job"
    )
