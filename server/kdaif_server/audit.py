"""Decisions on their way into the audit log, and the log's entries as messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp
from kdaif_proto.v1 import audit_pb2 as pb
from pydantic import ValidationError

from kdaif.errors import KdaifError
from kdaif.records.audit import AuditEntry, AuditEvent, AuditKind
from kdaif.store import AuditLog


@contextlib.asynccontextmanager
async def recorded(log: AuditLog, tenant: str, event: AuditEvent) -> AsyncIterator[AuditEntry]:
    """Writes the entry before what it tells of is done, so that nothing happens unrecorded.

    Where it then is not done, an entry that withdraws it follows. A server that dies in between leaves an entry of what
    may not have happened, which the record of the job or the line shows.

    Raises:
        UnavailableError: the store does not take the entry; nothing was done.
    """
    entry = await asyncio.to_thread(log.append, tenant, event)
    try:
        yield entry
    except KdaifError as error:
        withdrawn = replace(event, kind=AuditKind.WITHDRAWN, details={"entry": str(entry.number), "why": str(error)})
        with contextlib.suppress(KdaifError):
            await asyncio.to_thread(log.append, tenant, withdrawn)
        raise


def entry_to_proto(number: int, record: bytes) -> pb.AuditEntry:
    """One entry, with the bytes that its hash is of; of one that somebody made unreadable there is nothing else."""
    try:
        entry = AuditEntry.from_json(record)
    except ValidationError:
        return pb.AuditEntry(number=number, record=record)
    time = Timestamp()
    time.FromMilliseconds(entry.time_ms)
    return pb.AuditEntry(
        number=number,
        kind=pb.AuditEntry.Kind.Value(f"KIND_{entry.event.kind}"),
        subject=entry.event.subject,
        action=entry.event.action,
        author=entry.event.author,
        reason=entry.event.reason,
        time=time,
        details=entry.event.details,
        previous_sha256=entry.previous_sha256,
        record=record,
    )
