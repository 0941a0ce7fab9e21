"""Sends a file so that it arrives once and whole, whatever happens to the connection on the way."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from kdaif_proto.v1 import datasets_pb2 as pb

from kdaif_client import _convert
from kdaif_client._async.rpc import AsyncPatience, AsyncRpc
from kdaif_client._async.running import Lock, in_thread
from kdaif_client._rpc import was_cut
from kdaif_client.errors import FailedPrecondition, InvalidArgument, KdaifClientError, ServerError
from kdaif_client.types import Dataset, DatasetKind, DatasetState

CHUNK_BYTES = 512 * 1024

# A stream may last this long at this slowest speed before it is cut and taken up again.
_STREAM_S = 600.0
_SLOWEST_BYTES_S = 64 * 1024
# Creating and finishing make the server hash and publish the whole file.
_CREATE_S = 120.0
_REGISTER_S = 3600.0

Progress = Callable[[int, int], None]


async def upload(
    rpc: AsyncRpc,
    tenant: str,
    file: Path,
    name: str,
    patience_s: float,
    progress: Progress | None,
    kind: DatasetKind = DatasetKind.TABLE,
) -> Dataset:
    """The data set made of ``file``. Bytes that the server knows are not sent.

    Args:
        rpc: the connection.
        tenant: owner of the data set.
        file: a Parquet file, or a model of another kind.
        name: what people call it.
        patience_s: how long to go on without progress before giving up.
        progress: called with the bytes sent so far and the size, from another thread.
        kind: what the file is.
    """
    size = file.stat().st_size
    request = pb.CreateDatasetRequest(
        parent=f"tenants/{tenant}",
        display_name=name,
        sha256=await in_thread(_sha256, file),
        size_bytes=size,
        kind=_convert.kind_to_proto(kind),
    )
    answer = await rpc.call(rpc.datasets.CreateDataset, request, timeout_s=max(_CREATE_S, rpc.timeout_s))
    dataset = _convert.dataset(answer.dataset)
    offset = answer.committed_size
    patience = AsyncPatience(patience_s)
    while dataset.state is not DatasetState.READY:
        error: KdaifClientError | None = None
        try:
            dataset, committed = await _write(rpc, dataset.name, file, offset, size, progress)
        except KdaifClientError as broken:
            error = broken
            dataset, committed = await _after(broken, rpc, dataset, patience)
        if dataset.state is DatasetState.READY:
            break
        if error is not None and committed == offset and not was_cut(error):
            raise error
        if committed > offset:
            patience.progress()
        if error is not None or committed == offset:
            await patience.pause(error or ServerError(f"{dataset.name} takes no bytes past {offset:,} of {size:,}."))
        offset = committed
    _tell(progress, size, size)
    return dataset


async def register(rpc: AsyncRpc, tenant: str, uri: str, name: str, kind: DatasetKind | str) -> Dataset:
    """The data set of a file that the server reads where it is. It does so once, before it answers."""
    request = pb.CreateDatasetRequest(
        parent=f"tenants/{tenant}", display_name=name, uri=uri, kind=_convert.kind_to_proto(kind)
    )
    return _convert.dataset((await rpc.call(rpc.datasets.CreateDataset, request, timeout_s=_REGISTER_S)).dataset)


async def _write(
    rpc: AsyncRpc, name: str, file: Path, offset: int, size: int, progress: Progress | None
) -> tuple[Dataset, int]:
    with file.open("rb") as handle:
        messages = _Messages(handle, name, offset, size, progress)
        try:
            timeout_s = _STREAM_S + (size - offset) / _SLOWEST_BYTES_S
            answer = await rpc.send(rpc.datasets.WriteDataset, messages, timeout_s=timeout_s)
        finally:
            await messages.stop()
    return _convert.dataset(answer.dataset), answer.committed_size


async def _after(
    broken: KdaifClientError, rpc: AsyncRpc, dataset: Dataset, patience: AsyncPatience
) -> tuple[Dataset, int]:
    """How far the server is, asked until it answers. A refusal that has nothing to do with the offset is raised."""
    # A handler of a broken stream may still be writing when the next one opens: its offset is then refused as stale.
    offset_may_be_stale = isinstance(broken, InvalidArgument | FailedPrecondition)
    if not was_cut(broken) and not offset_may_be_stale:
        raise broken
    while True:
        try:
            answer = await rpc.call(rpc.datasets.QueryWriteStatus, pb.QueryWriteStatusRequest(name=dataset.name))
            if answer.complete:
                found = await rpc.call(rpc.datasets.GetDataset, pb.GetDatasetRequest(name=dataset.name))
                dataset = _convert.dataset(found.dataset)
            return dataset, answer.committed_size
        except KdaifClientError as error:
            if not was_cut(error):
                raise broken from error
            await patience.pause(error)


def _tell(progress: Progress | None, done: int, size: int) -> None:
    if progress is not None:
        progress(done, size)


class _Messages:
    """The messages of one stream, read from the file by gRPC's own thread or task.

    gRPC does not say when that one is done, so ``stop`` makes sure that it reads no more before the file closes.
    """

    def __init__(self, handle: BinaryIO, name: str, offset: int, size: int, progress: Progress | None) -> None:
        self._progress = progress
        self._handle = handle
        self._name = name
        self._offset = offset
        self._size = size
        self._lock = Lock()
        self._done = False
        handle.seek(offset)

    def __aiter__(self) -> AsyncIterator[pb.WriteDatasetRequest]:
        return self

    async def __anext__(self) -> pb.WriteDatasetRequest:
        async with self._lock:
            if self._done:
                raise StopAsyncIteration
            data = await in_thread(self._handle.read, CHUNK_BYTES)
            first = pb.WriteDatasetRequest(name=self._name, write_offset=self._offset) if self._name else None
            self._name = ""
            message = first or pb.WriteDatasetRequest()
            message.data = data
            self._offset += len(data)
            # A file that shrank meanwhile ends here too; the server sees that bytes are missing and says so.
            message.finish_write = self._done = self._offset >= self._size or not data
        # gRPC asks for the next message when the last one is on its way, so this follows the network.
        _tell(self._progress, self._offset, self._size)
        return message

    async def stop(self) -> None:
        async with self._lock:
            self._done = True


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
