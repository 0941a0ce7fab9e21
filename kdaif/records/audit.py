"""What people decided, and servers for them: a chain of entries, each holding the hash of the one before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter

NOTHING_BEFORE = "0" * 64
"""What the first entry holds for the hash of the one before."""


class AuditKind(StrEnum):
    """What an entry is about; the names equal those of the proto enum without its prefix."""

    OVERRIDES = "OVERRIDES"
    REVIEW = "REVIEW"
    LINE = "LINE"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True)
class AuditEvent:
    """What is decided.

    Attributes:
        kind: what it is about.
        subject: resource name of the job or the line.
        action: such as ``resume``, ``promote`` or ``set overrides``.
        author: who; empty where an old client did not say.
        reason: why.
        details: more, by name, as text.
    """

    kind: AuditKind
    subject: str
    action: str
    author: str
    reason: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditEntry:
    """An event in the chain.

    ``number`` counts 1, 2, 3, ... within a tenant, ``previous_sha256`` is of the bytes of the entry before, and
    ``time_ms`` is Unix milliseconds by the clock of the server.
    """

    number: int
    previous_sha256: str
    time_ms: int
    event: AuditEvent

    def to_json(self) -> bytes:
        """UTF-8 JSON, always the same bytes."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> AuditEntry:
        """The inverse of ``to_json``; ``pydantic.ValidationError`` when it is something else."""
        return _ADAPTER.validate_json(data)


def sha256_of(record: bytes) -> str:
    """Of an entry as it is stored."""
    return hashlib.sha256(record).hexdigest()


_ADAPTER = TypeAdapter(AuditEntry)
