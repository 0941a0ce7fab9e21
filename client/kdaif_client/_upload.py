# Generated from _async/upload.py by tools/generate_blocking.py; edit that, then run `make blocking`.
"""Sends a file so that it arrives once and whole, whatever happens to the connection on the way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kdaif_proto.v1 import datasets_pb2 as pb

from kdaif_client import _convert
from kdaif_client._rpc import Patience, Rpc, was_cut
from kdaif_client._running import Lock, in_thread, together
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


@dataclass(frozen=True)
class _Span:
    """Bytes of the file that one stream after the other brings: all of it, or a piece with its hash."""

    dataset: str
    file: Path
    start: int
    size: int
    piece: pb.Piece | None = None


def upload(
    rpc: Rpc,
    tenant: str,
    file: Path,
    name: str,
    patience_s: float,
    progress: Progress | None,
    kind: DatasetKind = DatasetKind.TABLE,
    streams: int = 1,
) -> Dataset:
    """The data set made of ``file``. Bytes that the server knows are not sent.

    Args:
        rpc: the connection.
        tenant: owner of the data set.
        file: a Parquet file, or a model of another kind.
        name: what people call it.
        patience_s: how long to go on without progress before giving up.
        progress: called with the bytes sent so far and the size, from other threads.
        kind: what the file is.
        streams: how many pieces of a large file are under way at a time, each by a connection of its own; 1 sends the
            file as a whole.
    """
    size = file.stat().st_size
    request = pb.CreateDatasetRequest(
        parent=f"tenants/{tenant}",
        display_name=name,
        sha256=in_thread(_sha256, file),
        size_bytes=size,
        kind=_convert.kind_to_proto(kind),
    )
    answer = rpc.call(rpc.datasets.CreateDataset, request, timeout_s=max(_CREATE_S, rpc.timeout_s))
    dataset = _convert.dataset(answer.dataset)
    if dataset.state is not DatasetState.READY:
        whole, committed, piece_size = (
            _Span(dataset.name, file, 0, size),
            answer.committed_size,
            answer.piece_size_bytes,
        )
        if streams > 1 and piece_size and size - committed > piece_size:
            _send_pieces(rpc, whole, piece_size, committed, patience_s, progress, streams)
            committed = size
        _send(rpc, whole, committed, patience_s, _Counted(progress, committed, size))
        found = rpc.call(rpc.datasets.GetDataset, pb.GetDatasetRequest(name=dataset.name))
        dataset = _convert.dataset(found.dataset)
    if progress is not None:
        progress(size, size)
    return dataset


def _send_pieces(
    rpc: Rpc,
    whole: _Span,
    piece_size: int,
    committed: int,
    patience_s: float,
    progress: Progress | None,
    streams: int,
) -> None:
    """Sends every piece that is not there yet, several at a time. The first that fails ends it."""
    begin = committed // piece_size * piece_size
    counted = _Counted(progress, begin, whole.size)
    free = [rpc.beside() for _ in range(streams)]
    connections = tuple(free)

    def send(start: int) -> None:
        size = min(piece_size, whole.size - start)
        piece = pb.Piece(start=start, sha256=in_thread(_sha256_of, whole.file, start, size))
        connection = free.pop()  # there is one for each piece under way
        try:
            _send(connection, _Span(whole.dataset, whole.file, start, size, piece), 0, patience_s, counted)
        finally:
            free.append(connection)

    try:
        together(send, range(begin, whole.size, piece_size), streams)
    finally:
        for connection in connections:
            connection.close()


def _send(rpc: Rpc, span: _Span, offset: int, patience_s: float, counted: _Counted) -> None:
    """Sends the bytes of a span from ``offset`` on, in as many streams as it takes."""
    patience = Patience(patience_s)
    while True:
        error: KdaifClientError | None = None
        try:
            committed, complete = _write(rpc, span, offset, counted)
        except KdaifClientError as broken:
            error = broken
            committed, complete = _after(broken, rpc, span, patience)
        counted.is_at(span, span.size if complete else committed)
        if complete:
            return
        if error is not None and committed == offset and not was_cut(error):
            raise error
        if committed > offset:
            patience.progress()
        if error is not None or committed == offset:
            told = f"{span.dataset} takes no bytes past {span.start + offset:,} of {span.start + span.size:,}."
            patience.pause(error or ServerError(told))
        offset = committed


def register(rpc: Rpc, tenant: str, uri: str, name: str, kind: DatasetKind | str) -> Dataset:
    """The data set of a file that the server reads where it is. It does so once, before it answers."""
    request = pb.CreateDatasetRequest(
        parent=f"tenants/{tenant}", display_name=name, uri=uri, kind=_convert.kind_to_proto(kind)
    )
    return _convert.dataset(rpc.call(rpc.datasets.CreateDataset, request, timeout_s=_REGISTER_S).dataset)


def _write(rpc: Rpc, span: _Span, offset: int, counted: _Counted) -> tuple[int, bool]:
    with span.file.open("rb") as handle:
        messages = _Messages(handle, span, offset, counted)
        try:
            timeout_s = _STREAM_S + (span.size - offset) / _SLOWEST_BYTES_S
            answer = rpc.send(rpc.datasets.WriteDataset, messages, timeout_s=timeout_s)
        finally:
            messages.stop()
    is_ready = answer.dataset.state == pb.Dataset.STATE_READY
    return answer.committed_size, is_ready if span.piece is None else answer.committed_size >= span.size


def _after(broken: KdaifClientError, rpc: Rpc, span: _Span, patience: Patience) -> tuple[int, bool]:
    """How far the server is, asked until it answers. A refusal that has nothing to do with the offset is raised."""
    # A handler of a broken stream may still be writing when the next one opens: its offset is then refused as stale.
    offset_may_be_stale = isinstance(broken, InvalidArgument | FailedPrecondition)
    if not was_cut(broken) and not offset_may_be_stale:
        raise broken
    while True:
        try:
            request = pb.QueryWriteStatusRequest(name=span.dataset, piece=span.piece)
            answer = rpc.call(rpc.datasets.QueryWriteStatus, request)
            return answer.committed_size, answer.complete
        except KdaifClientError as error:
            if not was_cut(error):
                raise broken from error
            patience.pause(error)


class _Counted:
    """Adds up how far the streams of one file are, and tells it."""

    def __init__(self, progress: Progress | None, done: int, size: int) -> None:
        self._progress = progress
        self._before = done
        self._size = size
        self._spans: dict[int, int] = {}
        self._lock = threading.Lock()

    def is_at(self, span: _Span, offset: int) -> None:
        """The stream of a span has come to ``offset`` of it."""
        if self._progress is not None:
            with self._lock:
                self._spans[span.start] = offset - (0 if span.piece else self._before)
                self._progress(min(self._before + sum(self._spans.values()), self._size), self._size)


class _Messages:
    """The messages of one stream, read from the file by gRPC's own thread or task.

    gRPC does not say when that one is done, so ``stop`` makes sure that it reads no more before the file closes.
    """

    def __init__(self, handle: BinaryIO, span: _Span, offset: int, counted: _Counted) -> None:
        self._handle = handle
        self._span = span
        self._counted = counted
        self._offset = offset
        self._is_first = True
        self._lock = Lock()
        self._done = False
        handle.seek(span.start + offset)

    def __iter__(self) -> Iterator[pb.WriteDatasetRequest]:
        return self

    def __next__(self) -> pb.WriteDatasetRequest:
        with self._lock:
            if self._done:
                raise StopIteration
            span = self._span
            data = in_thread(self._handle.read, min(CHUNK_BYTES, span.size - self._offset))
            message = pb.WriteDatasetRequest(data=data)
            if self._is_first:
                message.name, message.write_offset = span.dataset, self._offset
                if span.piece is not None:
                    message.piece.CopyFrom(span.piece)
                self._is_first = False
            self._offset += len(data)
            # A file that shrank meanwhile ends here too; the server sees that bytes are missing and says so.
            message.finish_write = self._done = self._offset >= span.size or not data
        # gRPC asks for the next message when the last one is on its way, so this follows the network.
        self._counted.is_at(span, self._offset)
        return message

    def stop(self) -> None:
        with self._lock:
            self._done = True


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sha256_of(file: Path, start: int, size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        handle.seek(start)
        while size and (block := handle.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()
