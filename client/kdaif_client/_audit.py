# Generated from _async/audit.py by tools/generate_blocking.py; edit that, then run `make blocking`.
"""Reads the audit log, and checks its chain here rather than to trust the server."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kdaif_proto.v1 import audit_pb2 as pb

from kdaif_client._convert import time_of
from kdaif_client._fields import enum_name
from kdaif_client._paging import page_size, pages
from kdaif_client._rpc import Rpc
from kdaif_client.audit_types import AuditEntry, AuditReport

_NOTHING_BEFORE = "0" * 64


def entries(rpc: Rpc, tenant: str, limit: int | None) -> Iterator[AuditEntry]:
    """Newest first, at most ``limit``."""
    request = pb.ListAuditEntriesRequest(parent=f"tenants/{tenant}", page_size=page_size(limit))
    for page in pages(rpc, rpc.audit.ListAuditEntries, request):
        for each in page.entries:
            yield _entry(each)


def checked(found: Iterator[AuditEntry], expected: tuple[int, str] | None) -> AuditReport:
    """Walks from the newest entry back to the first.

    Args:
        found: all entries, newest first.
        expected: number and hash of an entry that was noted before; None where none was.
    """
    faults: list[str] = []
    count, newest, later = 0, None, None
    seen = None
    for entry in found:
        count, newest = count + 1, newest or entry
        if not _is_as_recorded(entry):
            faults.append(f"entry {entry.number} is not what its record says")
        if later is not None and later.number != entry.number + 1:
            faults.append(_missing(entry.number + 1, later.number - 1))
        elif later is not None and _is_as_recorded(later) and later.previous_sha256 != entry.sha256:
            faults.append(f"entry {entry.number} was changed: entry {later.number} holds another hash of it")
        if expected is not None and entry.number == expected[0]:
            seen = entry.sha256
        later = entry
    if later is not None and later.number > 1:
        faults.append(_missing(1, later.number - 1))
    elif later is not None and later.previous_sha256 != _NOTHING_BEFORE:
        faults.append("entry 1 holds the hash of an entry before it, and there is none")
    if expected is not None and seen != expected[1]:
        what = "gone" if seen is None else "another than the one that was noted"
        faults.append(f"entry {expected[0]} is {what}")
    number, sha256 = (0, _NOTHING_BEFORE) if newest is None else (newest.number, newest.sha256)
    return AuditReport(count, number, sha256, tuple(faults))


def _is_as_recorded(entry: AuditEntry) -> bool:
    """Whether what the server tells of an entry stands in the bytes that are hashed."""
    try:
        held = json.loads(entry.record)
        event = held["event"]
        return (entry.number, entry.previous_sha256) == (held["number"], held["previous_sha256"]) and all(
            getattr(entry, name) == event[name] for name in ("kind", "subject", "action", "author", "reason", "details")
        )
    except (ValueError, KeyError, TypeError):
        return False


def _missing(first: int, last: int) -> str:
    return f"entry {first} was removed" if first == last else f"entries {first} to {last} were removed"


def _entry(message: pb.AuditEntry) -> AuditEntry:
    return AuditEntry(
        number=message.number,
        kind=enum_name(message, "kind"),
        subject=message.subject,
        action=message.action,
        author=message.author,
        reason=message.reason,
        time=time_of(message, "time"),
        details=dict(message.details),
        previous_sha256=message.previous_sha256,
        record=message.record,
    )
