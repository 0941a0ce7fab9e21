"""The append-only record of each line of students."""

from __future__ import annotations

import time
from threading import Lock

from kdaif.errors import AlreadyExistsError, FailedPreconditionError
from kdaif.records.lines import LineRevision
from kdaif.store import layout
from kdaif.store.blobs import BlobStore

MOST_REVISIONS = 100_000

_MOST_REMEMBERED = 10_000


class LineStore:
    """Lines by tenant and name. Threads may share one instance, and any number of processes one blob store."""

    def __init__(self, blobs: BlobStore, *, fresh_s: float = 1.0) -> None:
        """Prepares.

        Args:
            blobs: where the revisions are.
            fresh_s: seconds for which `remembered` goes on answering. What this instance adds itself it knows at once.
        """
        self._blobs = blobs
        self._fresh_s = fresh_s
        self._lock = Lock()
        self._known: dict[tuple[str, str], tuple[LineRevision, float]] = {}

    def remembered(self, tenant: str, line: str) -> LineRevision | None:
        """The line's last revision where this instance read it at most ``fresh_s`` ago; touches no disk."""
        with self._lock:
            found = self._known.get((tenant, line))
        return found[0] if found is not None and time.monotonic() - found[1] < self._fresh_s else None

    def newest(self, tenant: str, line: str) -> LineRevision | None:
        """The line's last revision as it is now; None for a line that is not there.

        Raises:
            InvalidInputError: no name of a line.
            UnavailableError: the store does not answer.
        """
        with self._lock:
            found = self._known.get((tenant, line))
        if found is None:
            number = self._count(tenant, line)
            if number == 0:
                return None
            last = self.revision(tenant, line, number)
        else:
            last = found[0]
        # Revisions have no gaps, so one look tells whether somebody else has added any.
        while self._blobs.exists(layout.line_revision(tenant, line, last.revision + 1)):
            last = self.revision(tenant, line, last.revision + 1)
        self._remember(tenant, line, last)
        return last

    def append(self, tenant: str, line: str, revision: LineRevision) -> bool:
        """Adds a revision to the one before it; False where somebody else was faster.

        Raises:
            FailedPreconditionError: the line has ``MOST_REVISIONS`` already.
            UnavailableError: the store is full or does not answer.
        """
        if revision.revision > MOST_REVISIONS:
            raise FailedPreconditionError(f"line {line!r} has {MOST_REVISIONS:,} revisions; go on in another line")
        try:
            self._blobs.put_bytes(layout.line_revision(tenant, line, revision.revision), revision.to_json())
        except AlreadyExistsError:
            return False
        self._remember(tenant, line, revision)
        return True

    def revision(self, tenant: str, line: str, number: int) -> LineRevision:
        """One change. Raises NotFoundError."""
        return LineRevision.from_json(self._blobs.get_bytes(layout.line_revision(tenant, line, number)))

    def names(self, tenant: str) -> list[str]:
        """The lines of a tenant, in ascending order."""
        return self._blobs.folders(layout.lines(tenant))

    def in_use(self, tenant: str) -> dict[str, str]:
        """The line of every student that is a champion or a canary now, by student."""
        found: dict[str, str] = {}
        for name in self.names(tenant):
            last = self.newest(tenant, name)
            if last is not None:
                canary = last.line.canary
                students = (last.line.champion, None if canary is None else canary.student)
                found |= {student: name for student in students if student is not None}
        return found

    def _count(self, tenant: str, line: str) -> int:
        paths = self._blobs.list(layout.line_revisions(tenant, line), limit=MOST_REVISIONS)
        return max((layout.line_revision_number(path) for path in paths), default=0)

    def _remember(self, tenant: str, line: str, last: LineRevision) -> None:
        with self._lock:
            known = self._known.get((tenant, line))
            if known is not None and known[0].revision > last.revision:
                return  # a slower thread must not bring back what was
            if known is None and len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[tenant, line] = (last, time.monotonic())
