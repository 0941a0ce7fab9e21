"""AuditService: the log of what people decided."""

from __future__ import annotations

import asyncio
from typing import Any

from kdaif_proto.v1 import audit_pb2 as pb
from kdaif_proto.v1 import audit_pb2_grpc

from kdaif.errors import InvalidInputError
from kdaif.store import AuditLog
from kdaif_server.audit import entry_to_proto
from kdaif_server.names import parse_parent
from kdaif_server.services.paging import decode_token, encode_token, page_size

_MOST_BYTES = 4 << 20


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Reads only: entries are made by what they tell of."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Any) -> pb.ListAuditEntriesResponse:
        """Newest first."""
        tenant = parse_parent(request.parent)
        limit = page_size(request.page_size, default=100, most=1000)
        cursor = decode_token(request.page_token)
        if cursor and not cursor.isdecimal():
            raise InvalidInputError.of("page_token", "belongs to another query; start again without one")
        before = int(cursor) if cursor else None
        found = await asyncio.to_thread(lambda: self._log.records(tenant, before=before, limit=limit))
        entries: list[pb.AuditEntry] = []
        size, oldest = 0, 1 if before is None else max(1, before - limit)
        for number, record in found:
            if entries and size + len(record) > _MOST_BYTES:
                break
            entries.append(entry_to_proto(number, record))
            size, oldest = size + len(record), number
        return pb.ListAuditEntriesResponse(
            entries=entries, next_page_token=encode_token(str(oldest) if oldest > 1 else "")
        )
