"""Quota, room on the disk, and what the sweep may take away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from kdaif.datasets import inspect
from kdaif.errors import FailedPreconditionError, NotFoundError, QuotaExceededError, UnavailableError
from kdaif.records import DatasetState
from kdaif.store import BlobStore, DatasetStore, UploadLimits, UploadWriter, layout
from tests.kdaif.store.conftest import parquet, sha256

FILES = [parquet(rows) for rows in range(100, 112)]
SIZE = max(len(data) for data in FILES)


def limited(blobs: BlobStore, folder: Path, **limits: int) -> DatasetStore:
    return DatasetStore(blobs, folder / "spool", inspect, limits=UploadLimits(**limits))


def declare(store: DatasetStore, data: bytes, tenant: str = "acme") -> str:
    return store.create(tenant, "rows", sha256(data), len(data))[0].id


def publish(store: DatasetStore, data: bytes, tenant: str = "acme") -> str:
    dataset_id = declare(store, data, tenant)
    store.append(tenant, dataset_id, 0, [data])
    store.finish(tenant, dataset_id)
    return dataset_id


def test_quota_counts_published_and_declared_bytes_of_one_tenant(blobs: BlobStore, tmp_path: Path) -> None:
    quota = len(FILES[0]) + len(FILES[1])
    store = limited(blobs, tmp_path, tenant_quota_bytes=quota)
    first = publish(store, FILES[0])
    second = declare(store, FILES[1])
    assert store.used_bytes("acme") == quota
    with pytest.raises(QuotaExceededError, match=rf"'acme' uses {quota:,} of the {quota:,} bytes"):
        declare(store, FILES[2])
    assert declare(store, FILES[1]) == second  # an upload that goes on is no new one
    assert declare(store, FILES[0]) == first
    publish(store, FILES[2], tenant="other")
    store.delete("acme", second)  # gives up
    assert store.used_bytes("acme") == len(FILES[0])
    publish(store, FILES[1])
    store.delete("acme", first)
    publish(store, FILES[0])
    assert store.used_bytes("acme") == quota


def test_files_by_reference_cost_no_quota(blobs: BlobStore, tmp_path: Path) -> None:
    from kdaif.store import References

    (tmp_path / "own.parquet").write_bytes(FILES[0])
    references = References(allowed_roots=(tmp_path,))
    store = DatasetStore(
        blobs, tmp_path / "spool", inspect, references=references, limits=UploadLimits(tenant_quota_bytes=1)
    )
    store.register("acme", "own", f"file://{tmp_path}/own.parquet")
    assert store.used_bytes("acme") == 0


def test_quota_holds_among_uploads_that_start_together(blobs: BlobStore, tmp_path: Path) -> None:
    """Each server has a store of its own on the same spool."""
    room_for = 5
    stores = [limited(blobs, tmp_path, tenant_quota_bytes=room_for * SIZE) for _ in FILES]

    def upload(number: int) -> bool:
        try:
            publish(stores[number], FILES[number])
        except QuotaExceededError:
            return False
        return True

    with ThreadPoolExecutor(len(FILES)) as pool:
        admitted = sum(pool.map(upload, range(len(FILES))))
    # One more may fit, since the others are a little smaller than the largest.
    assert room_for <= admitted <= room_for + 1
    assert stores[0].used_bytes("acme") <= room_for * SIZE


def test_q12_no_room_is_refused_before_a_byte_is_sent(blobs: BlobStore, tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    store = limited(blobs, tmp_path)
    with pytest.raises(UnavailableError, match=rf"needs {10 * free:,} bytes, and the disk of .*/spool has .* free"):
        store.create("acme", "rows", sha256(b"huge"), 10 * free)
    assert store.list("acme") == ([], "")
    reserved = limited(blobs, tmp_path, disk_reserve_bytes=10 * free)
    with pytest.raises(UnavailableError, match="kept in reserve"):
        declare(reserved, FILES[0])
    dataset_id = declare(store, FILES[0])
    # An upload that goes on is refused as well, and keeps its place.
    with pytest.raises(UnavailableError, match="go on with the upload"):
        reserved.open_writer("acme", dataset_id, 0)
    store.append("acme", dataset_id, 0, [FILES[0]])
    assert reserved.finish("acme", dataset_id).state is DatasetState.READY


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small tmpfs needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_q12_a_disk_that_fills_up_meanwhile_loses_nothing_and_the_upload_goes_on(small_disk: Path) -> None:
    blobs = BlobStore.open(f"file://{small_disk}/blobs")
    store = limited(blobs, small_disk)
    kept = publish(store, FILES[0])
    data = parquet(150_000)
    assert 1 << 20 < len(data) < 2 << 20
    dataset_id = declare(store, data)
    filler, sent = small_disk / "filler", 0

    def send(writer: UploadWriter) -> None:
        nonlocal sent
        filler.write_bytes(bytes(700 << 10))
        while sent < len(data):
            writer.write(data[sent : sent + (64 << 10)])
            sent = writer.commit()

    with store.open_writer("acme", dataset_id, 0) as writer, pytest.raises(UnavailableError, match=r"full|needs"):
        send(writer)
    assert sent > 0
    committed, complete = store.committed_size("acme", dataset_id)
    assert sent <= committed < len(data)
    assert not complete
    with pytest.raises(UnavailableError):
        store.open_writer("acme", dataset_id, committed)
    filler.unlink()
    store.append("acme", dataset_id, committed, [data[committed:]])
    # The rest of the disk would not take a copy: publishing needs no second place for the bytes.
    assert store.finish("acme", dataset_id).row_count == 150_000
    assert b"".join(blobs.iter_range(layout.blob("acme", sha256(data)))) == data
    assert store.get("acme", kept).state is DatasetState.READY


def age(*files: Path) -> None:
    for file in files:
        os.utime(file, (0, 0))


def test_an_upload_that_was_taken_up_again_is_not_swept(blobs: BlobStore, tmp_path: Path) -> None:
    store = limited(blobs, tmp_path)
    dataset_id = declare(store, FILES[0])
    part = tmp_path / "spool" / "acme" / f"{dataset_id}.part"
    age(part)
    with store.open_writer("acme", dataset_id, 0) as writer:
        assert store.sweep(max_age_s=60) == []
        writer.write(FILES[0][:10])
        writer.commit()
    assert store.sweep(max_age_s=60) == []
    age(part)
    assert store.sweep(max_age_s=60) == [dataset_id]
    with pytest.raises(NotFoundError):
        store.get("acme", dataset_id)


def test_bytes_that_no_record_names_are_swept_by_age(blobs: BlobStore, tmp_path: Path) -> None:
    store = limited(blobs, tmp_path)
    kept = publish(store, FILES[0])
    going_on = declare(store, FILES[1])
    paths = [layout.blob("acme", sha256(data)) for data in FILES[:4]]
    for path, data in zip(paths[1:], FILES[1:], strict=False):
        blobs.put_bytes(path, data)  # published, and then the server died before the record
    root = tmp_path / "blobs"
    age(*(root / path for path in paths[:3]))
    store.sweep(max_age_s=60)
    assert [blobs.exists(path) for path in paths] == [True, True, False, True]
    store.append("acme", going_on, 0, [FILES[1]])
    store.finish("acme", going_on)
    assert [store.get("acme", name).state for name in (kept, going_on)] == [DatasetState.READY] * 2


def test_a_deletion_never_takes_the_bytes_of_an_upload_that_is_published_meanwhile(
    blobs: BlobStore, tmp_path: Path
) -> None:
    stores = [limited(blobs, tmp_path) for _ in range(4)]
    data = FILES[0]
    dataset_id, path = sha256(data)[:32], layout.blob("acme", sha256(data))

    def publish_again_and_again(store: DatasetStore) -> None:
        for _ in range(40):
            # Another may be a step ahead, or give the upload up.
            with suppress(NotFoundError, UnavailableError, FailedPreconditionError):
                publish(store, data)

    def delete_again_and_again(store: DatasetStore) -> None:
        for _ in range(40):
            with suppress(NotFoundError, UnavailableError):
                store.delete("acme", dataset_id)
                # Now and then it is there again already; then so are its bytes.
                if blobs.exists(layout.dataset("acme", dataset_id)):
                    store.delete("acme", dataset_id)

    with ThreadPoolExecutor(4) as pool:
        tasks = [publish_again_and_again, delete_again_and_again] * 2
        list(pool.map(lambda task, store: task(store), tasks, stores))
    if not blobs.exists(layout.dataset("acme", dataset_id)):
        with suppress(NotFoundError):  # or an upload was left half way
            stores[0].delete("acme", dataset_id)
        publish(stores[0], data)
    assert blobs.get_bytes(path) == data


def test_a_published_blob_is_not_changed_by_what_is_left_in_the_spool(blobs: BlobStore, tmp_path: Path) -> None:
    """On one disk the blob and the spool's file are one file for a moment; a crash may leave both names."""
    store = limited(blobs, tmp_path)
    dataset_id = declare(store, FILES[0])
    store.append("acme", dataset_id, 0, [FILES[0]])
    part = tmp_path / "spool" / "acme" / f"{dataset_id}.part"
    kept = tmp_path / "kept"
    os.link(part, kept)
    store.finish("acme", dataset_id)
    blob = tmp_path / "blobs" / layout.blob("acme", sha256(FILES[0]))
    assert blob.stat().st_ino == kept.stat().st_ino
    kept.rename(part)  # the crash came before the spool's name went
    blobs.delete(layout.dataset("acme", dataset_id))
    assert declare(store, FILES[0]) == dataset_id
    assert store.committed_size("acme", dataset_id) == (0, False)
    assert blob.read_bytes() == FILES[0]
