"""DatasetService: resumable uploads, and files that stay where they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from kdaif_proto.v1 import datasets_pb2 as pb
from kdaif_proto.v1 import datasets_pb2_grpc

from kdaif.errors import InvalidInputError
from kdaif.store import DatasetStore, UploadWriter
from kdaif_server._convert import dataset_kind_from_proto, dataset_to_proto
from kdaif_server.names import parse_name, parse_parent
from kdaif_server.services.paging import decode_token, encode_token, page_size

T = TypeVar("T")


class DatasetService(datasets_pb2_grpc.DatasetServiceServicer):
    """Disk work runs in threads; the event loop only moves messages."""

    def __init__(self, datasets: DatasetStore) -> None:
        self._datasets = datasets

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Any) -> pb.CreateDatasetResponse:
        """Declares an upload, or answers READY when the bytes are stored or were registered where they are just now."""
        tenant, kind = parse_parent(request.parent), dataset_kind_from_proto(request.kind)
        if request.uri:
            if request.sha256 or request.size_bytes:
                raise InvalidInputError.of("uri", "goes without sha256 and size_bytes: the server finds them out")
            found = await asyncio.to_thread(self._datasets.register, tenant, request.display_name, request.uri, kind)
            return pb.CreateDatasetResponse(dataset=dataset_to_proto(found), committed_size=found.size_bytes)
        dataset, committed_size = await asyncio.to_thread(
            self._datasets.create, tenant, request.display_name, request.sha256, request.size_bytes, kind
        )
        return pb.CreateDatasetResponse(
            dataset=dataset_to_proto(dataset),
            committed_size=committed_size,
            piece_size_bytes=self._datasets.piece_bytes(),
        )

    async def WriteDataset(
        self, requests: AsyncIterator[pb.WriteDatasetRequest], context: Any
    ) -> pb.WriteDatasetResponse:
        """Appends bytes; what arrived before a broken stream is made durable, and the client goes on from there."""
        first = await anext(aiter(requests), None)
        if first is None:
            raise InvalidInputError.of("name", "is missing: the stream held no message")
        tenant, dataset_id = parse_name(first.name, "datasets")
        writer = await asyncio.to_thread(self._open_writer, tenant, dataset_id, first)
        try:
            message, finished = first, False
            while True:
                if message.data:
                    await _finished(asyncio.to_thread(writer.write, message.data))
                finished = finished or message.finish_write
                following = await anext(aiter(requests), None)
                if following is None:
                    break
                message = following
        finally:
            committed_size = await _finished(asyncio.to_thread(_commit_and_close, writer))
        if finished and first.HasField("piece"):
            piece = first.piece
            dataset = await asyncio.to_thread(
                self._datasets.finish_piece, tenant, dataset_id, piece.start, piece.sha256
            )
        elif finished:
            dataset = await asyncio.to_thread(self._datasets.finish, tenant, dataset_id)
        else:
            dataset = await asyncio.to_thread(self._datasets.upload_of, tenant, dataset_id)
        return pb.WriteDatasetResponse(dataset=dataset_to_proto(dataset), committed_size=committed_size)

    def _open_writer(self, tenant: str, dataset_id: str, first: pb.WriteDatasetRequest) -> UploadWriter:
        if first.HasField("piece"):
            return self._datasets.open_piece_writer(tenant, dataset_id, first.piece.start, first.write_offset)
        return self._datasets.open_writer(tenant, dataset_id, first.write_offset)

    async def QueryWriteStatus(self, request: pb.QueryWriteStatusRequest, context: Any) -> pb.QueryWriteStatusResponse:
        """How far an upload, or a piece of it, is."""
        tenant, dataset_id = parse_name(request.name, "datasets")
        if request.HasField("piece"):
            committed_size, complete = await asyncio.to_thread(
                self._datasets.piece_committed_size, tenant, dataset_id, request.piece.start
            )
        else:
            committed_size, complete = await asyncio.to_thread(self._datasets.committed_size, tenant, dataset_id)
        return pb.QueryWriteStatusResponse(committed_size=committed_size, complete=complete)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.GetDatasetResponse:
        """One data set."""
        tenant, dataset_id = parse_name(request.name, "datasets")
        dataset = await asyncio.to_thread(self._datasets.get, tenant, dataset_id)
        return pb.GetDatasetResponse(dataset=dataset_to_proto(dataset))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        """Data sets in the order of their ids."""
        tenant = parse_parent(request.parent)
        limit = page_size(request.page_size, default=100, most=1000)
        after = decode_token(request.page_token)
        datasets, cursor = await asyncio.to_thread(self._datasets.list, tenant, after=after, limit=limit)
        return pb.ListDatasetsResponse(
            datasets=[dataset_to_proto(dataset) for dataset in datasets], next_page_token=encode_token(cursor)
        )

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> pb.DeleteDatasetResponse:
        """Deletes a data set."""
        tenant, dataset_id = parse_name(request.name, "datasets")
        await asyncio.to_thread(self._datasets.delete, tenant, dataset_id)
        return pb.DeleteDatasetResponse()


async def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Waits for the work even when the call is cancelled, since a thread cannot be stopped."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _commit_and_close(writer: Any) -> int:
    try:
        return int(writer.commit())
    finally:
        writer.close()
