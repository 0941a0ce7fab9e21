"""Large files come in pieces, several at a time, and each piece goes on where it was cut."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import DatasetState, _upload
from kdaif_client._rpc import Rpc
from kdaif_proto.v1 import datasets_pb2 as pb
from kdaif_proto.v1 import datasets_pb2_grpc
from kdaif_server.settings import ServerSettings

from kdaif.store import UploadLimits
from tests.server.serving import serving

PIECE = UploadLimits().piece_bytes
CUT_AFTER = 5


@pytest.fixture
def target(valkey_url: str, tmp_path: Path) -> Iterator[str]:
    with serving(ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path / "data")) as address:
        yield address


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A Parquet file of three pieces, the last one small."""
    rows = (2 * PIECE + (1 << 20)) // 16
    values = np.random.default_rng(0).normal(size=rows)
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"id": np.arange(rows), "x": values}), path, compression="none", use_dictionary=False)
    assert 2 * PIECE < path.stat().st_size < 3 * PIECE
    return path


def test_a_piece_that_was_cut_goes_on_and_the_others_are_not_sent_again(
    target: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file.read_bytes()
    second = pb.Piece(start=PIECE, sha256=hashlib.sha256(data[PIECE : 2 * PIECE]).hexdigest())
    first = pb.Piece(start=0, sha256=hashlib.sha256(data[:PIECE]).hexdigest())
    step = _upload.CHUNK_BYTES
    arrived = threading.Event()

    def messages(name: str, piece: pb.Piece, count: int) -> Iterator[pb.WriteDatasetRequest]:
        for place in range(count):
            begin = piece.start + place * step
            message = pb.WriteDatasetRequest(data=data[begin : begin + step])
            if place == 0:
                message.name = name
                message.piece.CopyFrom(piece)
            message.finish_write = (place + 1) * step == PIECE
            yield message
        if count * step < PIECE:
            arrived.wait(30)  # a cut before the server has read a message would leave nothing to go on from
            raise ConnectionError("the line is cut")

    with grpc.insecure_channel(target) as channel:
        datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        request = pb.CreateDatasetRequest(
            parent="tenants/default", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
        )
        created = datasets.CreateDataset(request, timeout=30)
        assert created.piece_size_bytes == PIECE
        name = created.dataset.name
        done = datasets.WriteDataset(messages(name, first, PIECE // step), timeout=60)
        assert done.committed_size == PIECE
        cut = datasets.WriteDataset.future(messages(name, second, CUT_AFTER), timeout=60)
        asked = pb.QueryWriteStatusRequest(name=name, piece=second)
        deadline = time.monotonic() + 30
        while (status := datasets.QueryWriteStatus(asked, timeout=10)).committed_size == 0:
            assert time.monotonic() < deadline
        arrived.set()
        with pytest.raises(grpc.RpcError):
            cut.result()
        assert not status.complete
        whole = datasets.QueryWriteStatus(pb.QueryWriteStatusRequest(name=name), timeout=10)
        assert whole.committed_size == PIECE  # the first piece is joined

    sent: list[tuple[int, int]] = []
    original = _upload._write

    def noted(rpc: object, span: _upload._Span, offset: int, counted: object) -> tuple[int, bool]:
        sent.append((span.start, offset))
        return original(rpc, span, offset, counted)  # type: ignore[arg-type]

    monkeypatch.setattr(_upload, "_write", noted)
    told: list[int] = []
    rpc = Rpc(target, 30.0)
    try:
        dataset = _upload.upload(rpc, "default", file, "pool", 60.0, lambda done, size: told.append(done), streams=2)
    finally:
        rpc.close()
    assert dataset.state is DatasetState.READY
    assert dataset.size_bytes == len(data)
    assert dataset.row_count == pq.read_metadata(file).num_rows
    assert {start for start, _ in sent if start} == {PIECE, 2 * PIECE}
    assert max(offset for start, offset in sent if start == PIECE) >= step
    assert told[-1] == len(data)
    assert max(told) == len(data)
