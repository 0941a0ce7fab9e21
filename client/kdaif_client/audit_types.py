"""The log of what people decided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

__all__ = ["AuditEntry", "AuditReport"]


@dataclass(frozen=True)
class AuditEntry:
    """Who decided what, when and why.

    Attributes:
        number: 1, 2, 3, ... within a tenant.
        kind: ``OVERRIDES``, ``REVIEW``, ``LINE``, or ``WITHDRAWN``: what an earlier entry tells of was not done.
        subject: resource name of the job or the line.
        action: such as ``resume``, ``promote`` or ``set overrides``.
        author: who; empty where nobody said.
        reason: why.
        time: by the clock of the server.
        details: more about it, by name; the ``decisions`` of overrides are JSON.
        previous_sha256: of the ``record`` of the entry before.
        record: the entry as it is stored.
    """

    number: int
    kind: str
    subject: str
    action: str
    author: str
    reason: str
    time: datetime | None
    details: dict[str, str]
    previous_sha256: str
    record: bytes

    @property
    def sha256(self) -> str:
        """Of ``record``, which the next entry holds."""
        return hashlib.sha256(self.record).hexdigest()


@dataclass(frozen=True)
class AuditReport:
    """Whether a log is whole.

    Attributes:
        entries: that are there.
        number: of the last one, 0 of an empty log, and ``sha256`` its hash. Note both elsewhere: a log that was cut off
            at its end looks whole by itself, but no longer holds them.
        sha256: of the last one.
        faults: what is wrong; empty where the log is whole.
    """

    entries: int
    number: int
    sha256: str
    faults: tuple[str, ...]
