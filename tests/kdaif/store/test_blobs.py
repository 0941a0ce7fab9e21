from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.errors import AlreadyExistsError, InvalidInputError, NotFoundError, UnavailableError
from kdaif.store import BlobStore
from kdaif.store.failures import translated


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}/store%20with%20spaces")


def test_create_only(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put_bytes("a/b", b"first")
    with pytest.raises(AlreadyExistsError, match="a/b"):
        blobs.put_bytes("a/b", b"second")
    file = tmp_path / "file"
    file.write_bytes(b"third")
    with pytest.raises(AlreadyExistsError):
        blobs.put_file("a/b", file)
    assert blobs.get_bytes("a/b") == b"first"
    blobs.replace_bytes("a/b", b"fourth")
    assert blobs.get_bytes("a/b") == b"fourth"
    assert (tmp_path / "store with spaces" / "a" / "b").read_bytes() == b"fourth"


def test_one_of_many_creators_wins(blobs: BlobStore) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def create(name: str) -> None:
        start.wait()
        try:
            blobs.put_bytes("race", name.encode())
            outcomes.append(name)
        except AlreadyExistsError:
            pass

    threads = [threading.Thread(target=create, args=(f"writer-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name.encode() for name in outcomes] == [blobs.get_bytes("race")]


def test_files_are_streamed_in_and_out(blobs: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(20 << 20)
    (tmp_path / "file").write_bytes(data)
    blobs.put_file("big", tmp_path / "file")
    assert blobs.size("big") == len(data)
    chunks = list(blobs.iter_range("big"))
    assert {len(chunk) for chunk in chunks} == {1 << 19}
    assert b"".join(chunks) == data


@given(st.binary(max_size=200), st.integers(0, 200), st.one_of(st.none(), st.integers(0, 250)), st.integers(1, 64))
def test_ranges(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int, length: int | None, chunk: int
) -> None:
    blobs = BlobStore.open(f"file://{tmp_path_factory.mktemp('blobs')}")
    blobs.put_bytes("x", data)
    if offset > len(data):
        with pytest.raises(InvalidInputError, match="offset"):
            list(blobs.iter_range("x", offset, length, chunk))
        return
    found = list(blobs.iter_range("x", offset, length, chunk))
    assert b"".join(found) == data[offset:][:length]
    assert all(len(piece) == chunk for piece in found[:-1])


def test_list_pages_in_order_and_stays_in_its_folder(blobs: BlobStore) -> None:
    for name in ("t/d/3", "t/d/1", "t/d/2", "t/dd/0", "t/e"):
        blobs.put_bytes(name, b"")
    assert blobs.list("t/d") == ["t/d/1", "t/d/2", "t/d/3"]
    assert blobs.list("t/d", after="t/d/1", limit=1) == ["t/d/2"]
    assert blobs.list("nothing") == []


def test_missing_and_deleted(blobs: BlobStore) -> None:
    assert not blobs.exists("x")
    for read in (blobs.get_bytes, blobs.size, lambda path: list(blobs.iter_range(path))):
        with pytest.raises(NotFoundError, match="x"):
            read("x")
    blobs.put_bytes("x", b"1")
    assert blobs.exists("x")
    blobs.delete("x")
    blobs.delete("x")
    assert not blobs.exists("x")


def test_half_written_files_are_invisible_and_swept(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put_bytes("t/x", b"1")
    leftover = tmp_path / "store with spaces" / "t" / ".staged-crash"
    leftover.write_bytes(b"half")
    assert blobs.list("t") == ["t/x"]
    assert blobs.sweep(max_age_s=3600) == []
    os.utime(leftover, (0, 0))
    assert blobs.sweep(max_age_s=3600) == [str(leftover)]
    assert blobs.get_bytes("t/x") == b"1"


def test_nothing_staged_is_left_behind(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put_bytes("t/x", b"1")
    with pytest.raises(AlreadyExistsError):
        blobs.put_bytes("t/x", b"2")
    assert [file.name for file in (tmp_path / "store with spaces" / "t").iterdir()] == ["x"]


@pytest.mark.parametrize("url", ["", "/tmp/x", "file:relative", "file://host/x", "gs://bucket", "s3://", "memory:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="blob_url"):
        BlobStore.open(url)


def test_a_store_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    blobs = BlobStore.open("s3://bucket/prefix")
    with pytest.raises(UnavailableError, match="read tenants"):
        blobs.get_bytes("tenants")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_unavailable_and_says_so(number: int) -> None:
    with pytest.raises(UnavailableError, match="could not write x: the disk is full"), translated("write x"):
        raise OSError(number, os.strerror(number))


def test_denied_access_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="credentials"), translated("write x"):
        raise PermissionError
