"""The append-only log of what people decided, one for each tenant. It outlives Redis, and the jobs that it is about."""

from __future__ import annotations

import time
from threading import Lock

from kdaif.errors import AlreadyExistsError, NotFoundError
from kdaif.records.audit import NOTHING_BEFORE, AuditEntry, AuditEvent, sha256_of
from kdaif.store import layout
from kdaif.store.blobs import BlobStore

_MOST_REMEMBERED = 10_000


class AuditLog:
    """Any number of servers may add to one log. Threads may share an instance.

    Every method raises UnavailableError when the store does not answer or is full.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._lock = Lock()
        self._known: dict[str, tuple[int, str]] = {}

    def append(self, tenant: str, event: AuditEvent) -> AuditEntry:
        """Adds an entry behind the last one; of two who write at once each gets a number of its own."""
        number, sha256 = self.head(tenant)
        while True:
            entry = AuditEntry(number + 1, sha256, int(time.time() * 1000), event)
            record = entry.to_json()
            try:
                self._blobs.put_bytes(layout.audit_entry(tenant, entry.number), record)
            except AlreadyExistsError:
                number, sha256 = self.head(tenant)
                continue
            self._remember(tenant, entry.number, sha256_of(record))
            return entry

    def head(self, tenant: str) -> tuple[int, str]:
        """Number and hash of the last entry; 0 and zeros of an empty log."""
        with self._lock:
            known = self._known.get(tenant)
        if known is None:
            # A listing, no search by halves: where an entry was removed, those behind it must not get lost.
            paths = (entry.path for entry in self._blobs.entries(layout.audit_log(tenant)))
            number = max((layout.audit_entry_number(path) or 0 for path in paths), default=0)
            known = (number, sha256_of(self.record(tenant, number)) if number else NOTHING_BEFORE)
        number, sha256 = known
        while self._blobs.exists(layout.audit_entry(tenant, number + 1)):
            number, sha256 = number + 1, sha256_of(self.record(tenant, number + 1))
        self._remember(tenant, number, sha256)
        return number, sha256

    def record(self, tenant: str, number: int) -> bytes:
        """One entry as it is stored. Raises NotFoundError."""
        return self._blobs.get_bytes(layout.audit_entry(tenant, number))

    def records(self, tenant: str, *, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Entries as they are stored with their numbers, newest first, of numbers under ``before``.

        An entry that somebody removed is left out, which breaks the chain where it was.
        """
        last, _ = self.head(tenant)
        top = last if before is None else min(before - 1, last)
        found = []
        for number in range(top, max(0, top - limit), -1):
            try:
                found.append((number, self.record(tenant, number)))
            except NotFoundError:
                continue
        return found

    def _remember(self, tenant: str, number: int, sha256: str) -> None:
        with self._lock:
            known = self._known.get(tenant)
            if known is None or known[0] < number:
                if known is None and len(self._known) >= _MOST_REMEMBERED:
                    self._known.clear()
                self._known[tenant] = (number, sha256)
