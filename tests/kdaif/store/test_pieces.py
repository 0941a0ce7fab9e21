"""Pieces of one upload: in any order, gone on with where they were, joined once their hashes hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdaif.datasets import inspect
from kdaif.errors import (
    DataCorruptedError,
    FailedPreconditionError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from kdaif.records import DatasetState
from kdaif.store import BlobStore, DatasetStore, UploadLimits
from tests.kdaif.store.conftest import parquet, sha256

SIZE = 1000
DATA = parquet(300)
STARTS = list(range(0, len(DATA), SIZE))
ID = sha256(DATA)[:32]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def store(blobs: BlobStore, spool: Path) -> DatasetStore:
    made = DatasetStore(blobs, spool, inspect, limits=UploadLimits(piece_bytes=SIZE))
    made.create("acme", "pool", sha256(DATA), len(DATA))
    return made


def piece(start: int) -> bytes:
    return DATA[start : start + SIZE]


def write(store: DatasetStore, start: int, data: bytes, offset: int = 0) -> None:
    with store.open_piece_writer("acme", ID, start, offset) as writer:
        writer.write(data)
        writer.commit()


def send(store: DatasetStore, start: int) -> None:
    write(store, start, piece(start))
    store.finish_piece("acme", ID, start, sha256(piece(start)))


def test_pieces_in_any_order_make_the_file(store: DatasetStore, spool: Path, tmp_path: Path) -> None:
    assert len(STARTS) > 3
    for start in [*STARTS[2:], STARTS[0]]:
        send(store, start)
    assert store.committed_size("acme", ID) == (SIZE, False)
    with pytest.raises(FailedPreconditionError, match="send the rest"):
        store.finish("acme", ID)
    send(store, STARTS[1])
    assert store.committed_size("acme", ID) == (len(DATA), False)
    assert store.finish("acme", ID).state is DatasetState.READY
    assert store.fetch("acme", ID, tmp_path / "cache").read_bytes() == DATA
    assert [file.name for file in spool.rglob("*") if file.is_file()] == ["acme.lock"]
    assert store.piece_committed_size("acme", ID, STARTS[-1]) == (len(piece(STARTS[-1])), True)


def test_a_piece_goes_on_where_it_was(store: DatasetStore, blobs: BlobStore, spool: Path) -> None:
    start = STARTS[1]
    write(store, start, piece(start)[:400])
    store = DatasetStore(blobs, spool, inspect, limits=UploadLimits(piece_bytes=SIZE))  # a restarted server
    assert store.piece_committed_size("acme", ID, start) == (400, False)
    with pytest.raises(FailedPreconditionError, match="go on at 400"):
        write(store, start, piece(start))
    write(store, start, piece(start)[400:], offset=400)
    assert store.piece_committed_size("acme", ID, start) == (SIZE, False)  # nobody said yet what its hash should be
    store.finish_piece("acme", ID, start, sha256(piece(start)))
    assert store.piece_committed_size("acme", ID, start) == (SIZE, True)
    store.finish_piece("acme", ID, start, sha256(piece(start)))  # the answer was lost, the call repeated
    with pytest.raises(FailedPreconditionError):
        write(store, start, b"", offset=SIZE)


def test_pieces_are_written_at_a_time_and_each_by_one(store: DatasetStore) -> None:
    with (
        store.open_piece_writer("acme", ID, STARTS[0], 0) as first,
        store.open_piece_writer("acme", ID, STARTS[1], 0) as second,
    ):
        first.write(b"x")
        second.write(b"y")
        with pytest.raises(UnavailableError, match="another stream"):
            store.open_piece_writer("acme", ID, STARTS[0], 1)
        with pytest.raises(InvalidInputError, match="goes beyond"):
            second.write(bytes(SIZE))


def test_a_wrong_piece_is_discarded_alone(store: DatasetStore) -> None:
    send(store, STARTS[2])
    write(store, STARTS[1], bytes(SIZE))
    with pytest.raises(DataCorruptedError, match="send it again"):
        store.finish_piece("acme", ID, STARTS[1], sha256(piece(STARTS[1])))
    assert store.piece_committed_size("acme", ID, STARTS[1]) == (0, False)
    assert store.piece_committed_size("acme", ID, STARTS[2]) == (SIZE, True)


def test_a_join_that_a_crash_cut_goes_on(store: DatasetStore, spool: Path) -> None:
    with store.open_writer("acme", ID, 0) as holder:  # while somebody holds the upload, nothing is joined
        for start in STARTS[:2]:
            send(store, start)
        holder.write(DATA[:1300])  # as a crash leaves it: the first piece and some of the second are copied
        holder.commit()
    with store.open_writer("acme", ID, 2 * SIZE) as writer:  # one stream takes up what pieces began
        writer.write(DATA[2 * SIZE :])
        writer.commit()
    assert store.finish("acme", ID).state is DatasetState.READY


@pytest.mark.parametrize("start", [-SIZE, 1, len(DATA) // SIZE * SIZE + SIZE])
def test_pieces_off_the_grid_are_refused(store: DatasetStore, start: int) -> None:
    with pytest.raises(InvalidInputError, match="begin at multiples of 1000"):
        store.open_piece_writer("acme", ID, start, 0)
    with pytest.raises(InvalidInputError, match="begin at multiples of 1000"):
        store.piece_committed_size("acme", ID, start)


def test_pieces_go_with_their_upload(store: DatasetStore, spool: Path) -> None:
    send(store, STARTS[1])
    write(store, STARTS[2], b"x")
    store.delete("acme", ID)
    assert [file.name for file in spool.rglob("*") if file.is_file()] == ["acme.lock"]
    with pytest.raises(NotFoundError):
        store.open_piece_writer("acme", ID, STARTS[1], 0)
    stray = spool / "acme" / f"{ID}.{SIZE:015d}.piece"
    stray.write_bytes(b"x")
    store.sweep(3600.0)
    assert stray.exists()
    store.sweep(0.0)
    assert not stray.exists()
