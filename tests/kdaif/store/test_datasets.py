from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdaif.datasets import inspect
from kdaif.errors import (
    AlreadyExistsError,
    DataCorruptedError,
    FailedPreconditionError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from kdaif.records import Column, DatasetState
from kdaif.store import BlobStore, DatasetStore, layout
from tests.kdaif.store.conftest import parquet, sha256

DATA = parquet()
SHA = sha256(DATA)
ID = SHA[:32]


def begin(store: DatasetStore, data: bytes = DATA, tenant: str = "acme") -> str:
    dataset, committed = store.create(tenant, "rows", sha256(data), len(data))
    assert committed == 0
    return dataset.id


def upload(store: DatasetStore, data: bytes = DATA, tenant: str = "acme") -> str:
    dataset_id = begin(store, data, tenant)
    store.append(tenant, dataset_id, 0, [data])
    store.finish(tenant, dataset_id)
    return dataset_id


def test_upload_finish_fetch(store: DatasetStore, tmp_path: Path) -> None:
    dataset_id = begin(store)
    assert dataset_id == ID
    assert store.append("acme", dataset_id, 0, [DATA[:100], DATA[100:]]) == len(DATA)
    assert store.committed_size("acme", dataset_id) == (len(DATA), False)
    dataset = store.finish("acme", dataset_id)
    assert (dataset.state, dataset.row_count) == (DatasetState.READY, 50)
    assert dataset.columns == (Column("id", "string"), Column("x", "double"))
    assert store.finish("acme", dataset_id) == dataset
    assert store.get("acme", dataset_id) == dataset
    assert store.committed_size("acme", dataset_id) == (len(DATA), True)
    assert store.create("acme", "again", SHA, len(DATA)) == (dataset, len(DATA))
    file = store.fetch("acme", dataset_id, tmp_path / "cache")
    assert file.read_bytes() == DATA
    assert list((tmp_path / "spool" / "acme").iterdir()) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=12))
def test_q13_an_upload_goes_on_after_any_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("upload")
    blobs = BlobStore.open(f"file://{folder}/blobs")
    store = DatasetStore(blobs, folder / "spool", inspect)
    dataset_id = begin(store)
    sent = 0
    for size, committed in pieces:
        piece = DATA[sent : sent + size]
        with store.open_writer("acme", dataset_id, sent) as writer:
            writer.write(piece)
            sent += len(piece)
            if committed:
                assert writer.commit() == sent
        store = DatasetStore(blobs, folder / "spool", inspect)  # a restarted server
        assert store.committed_size("acme", dataset_id) == (sent, False)
    assert store.create("acme", "rows", SHA, len(DATA))[1] == sent
    store.append("acme", dataset_id, sent, [DATA[sent:]])
    assert store.finish("acme", dataset_id).state is DatasetState.READY


def test_q9_bytes_beyond_any_message_limit(store: DatasetStore, tmp_path: Path) -> None:
    data = parquet(1_000_000)
    assert len(data) > 8 << 20
    dataset_id = begin(store, data)
    store.append("acme", dataset_id, 0, (data[at : at + (1 << 19)] for at in range(0, len(data), 1 << 19)))
    assert store.finish("acme", dataset_id).row_count == 1_000_000
    assert store.fetch("acme", dataset_id, tmp_path / "cache").stat().st_size == len(data)


@pytest.mark.parametrize("offset", [0, 99, 101, 10**9, -1])
def test_a_wrong_offset_is_told_where_to_go_on(store: DatasetStore, offset: int) -> None:
    dataset_id = begin(store)
    store.append("acme", dataset_id, 0, [DATA[:100]])
    with pytest.raises(FailedPreconditionError, match="go on at 100"):
        store.open_writer("acme", dataset_id, offset)


def test_one_writer_at_a_time(store: DatasetStore) -> None:
    dataset_id = begin(store)
    with store.open_writer("acme", dataset_id, 0) as writer:
        for second in (
            lambda: store.open_writer("acme", dataset_id, 0),
            lambda: store.finish("acme", dataset_id),
            lambda: store.delete("acme", dataset_id),
        ):
            with pytest.raises(UnavailableError, match="another stream"):
                second()
        writer.write(DATA[:10])
        assert store.create("acme", "rows", SHA, len(DATA))[0].state is DatasetState.UPLOADING
    writer.close()
    with pytest.raises(FailedPreconditionError, match="closed"):
        writer.write(b"x")
    store.open_writer("acme", dataset_id, 10).close()


def test_more_bytes_than_declared_are_refused(store: DatasetStore) -> None:
    dataset_id = begin(store)
    with store.open_writer("acme", dataset_id, 0) as writer:
        writer.write(DATA)
        with pytest.raises(InvalidInputError, match="beyond"):
            writer.write(b"x")
        assert writer.commit() == len(DATA)
    assert store.finish("acme", dataset_id).size_bytes == len(DATA)


def test_unfinished_uploads_are_not_published(store: DatasetStore, tmp_path: Path) -> None:
    dataset_id = begin(store)
    store.append("acme", dataset_id, 0, [DATA[:-1]])
    with pytest.raises(FailedPreconditionError, match=f"send the rest from {len(DATA) - 1}"):
        store.finish("acme", dataset_id)
    with pytest.raises(FailedPreconditionError, match="still uploading"):
        store.fetch("acme", dataset_id, tmp_path / "cache")
    store.append("acme", dataset_id, len(DATA) - 1, [DATA[-1:]])
    assert store.finish("acme", dataset_id).state is DatasetState.READY
    with pytest.raises(FailedPreconditionError, match="complete"):
        store.open_writer("acme", dataset_id, len(DATA))


def test_wrong_bytes_are_discarded(store: DatasetStore) -> None:
    dataset_id = begin(store)
    store.append("acme", dataset_id, 0, [bytes(len(DATA))])
    with pytest.raises(DataCorruptedError, match="discarded"):
        store.finish("acme", dataset_id)
    with pytest.raises(NotFoundError):
        store.get("acme", dataset_id)
    assert upload(store) == dataset_id


def test_what_is_no_parquet_is_discarded(store: DatasetStore) -> None:
    cut = DATA[:-20]
    dataset_id = begin(store, cut)
    store.append("acme", dataset_id, 0, [cut])
    with pytest.raises(InvalidInputError, match="no readable Parquet"):
        store.finish("acme", dataset_id)
    with pytest.raises(NotFoundError):
        store.get("acme", dataset_id)


def test_finish_after_a_crash_between_blob_and_record(store: DatasetStore, blobs: BlobStore) -> None:
    dataset_id = begin(store)
    store.append("acme", dataset_id, 0, [DATA])
    blobs.put_bytes(layout.blob("acme", SHA), DATA)
    dataset = store.finish("acme", dataset_id)
    assert dataset.state is DatasetState.READY
    assert store.get("acme", dataset_id) == dataset


def test_a_crash_between_record_and_spool_leaves_it_ready(store: DatasetStore, tmp_path: Path) -> None:
    dataset_id = begin(store)
    store.append("acme", dataset_id, 0, [DATA])
    spool = tmp_path / "spool" / "acme"
    kept = {file: file.read_bytes() for file in spool.iterdir()}
    dataset = store.finish("acme", dataset_id)
    for file, data in kept.items():
        file.write_bytes(data)
    assert store.get("acme", dataset_id) == dataset
    assert store.list("acme") == ([dataset], "")
    assert store.finish("acme", dataset_id) == dataset
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("acme", "x", "short", 5), "sha256"),
        (("acme", "x", SHA.upper(), 5), "sha256"),
        (("Acme", "x", SHA, 5), "tenant"),
        (("../acme", "x", SHA, 5), "tenant"),
        (("acme", "x", SHA, 0), "size_bytes"),
        (("acme", "x" * 257, SHA, 5), "display_name"),
    ],
)
def test_wrong_declarations_are_refused(store: DatasetStore, arguments: Any, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        store.create(*arguments)
    assert caught.value.violations[0].field == field


def test_another_size_for_the_same_hash_is_refused(store: DatasetStore) -> None:
    begin(store)
    with pytest.raises(AlreadyExistsError, match="hash the file again"):
        store.create("acme", "rows", SHA, len(DATA) + 1)


def test_tenants_do_not_see_one_another(store: DatasetStore, tmp_path: Path) -> None:
    dataset_id = upload(store)
    with pytest.raises(NotFoundError):
        store.get("other", dataset_id)
    store.fetch("acme", dataset_id, tmp_path / "cache")
    with pytest.raises(NotFoundError):
        store.fetch("other", dataset_id, tmp_path / "cache")
    assert store.list("other") == ([], "")


def test_list_pages_over_finished_and_unfinished(store: DatasetStore) -> None:
    files = [parquet(rows) for rows in range(1, 8)]
    ids = [upload(store, data) if number % 2 else begin(store, data) for number, data in enumerate(files)]
    found: list[str] = []
    after = ""
    while True:
        page, after = store.list("acme", after=after, limit=3)
        assert len(page) <= 3
        found += [dataset.id for dataset in page]
        if not after:
            break
    assert found == sorted(ids)


def test_delete_and_upload_again(store: DatasetStore, blobs: BlobStore) -> None:
    dataset_id = upload(store)
    store.delete("acme", dataset_id)
    assert not blobs.exists(layout.blob("acme", SHA))
    with pytest.raises(NotFoundError):
        store.delete("acme", dataset_id)
    begin(store)
    store.delete("acme", dataset_id)
    assert upload(store) == dataset_id


def test_fetch_reuses_a_good_copy_and_replaces_a_cut_one(store: DatasetStore, tmp_path: Path) -> None:
    dataset_id = upload(store)
    file = store.fetch("acme", dataset_id, tmp_path / "cache")
    first = file.stat().st_ino
    assert store.fetch("acme", dataset_id, tmp_path / "cache").stat().st_ino == first
    file.write_bytes(DATA[:10])
    assert store.fetch("acme", dataset_id, tmp_path / "cache").read_bytes() == DATA
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_fetch_finds_damaged_bytes(store: DatasetStore, blobs: BlobStore, tmp_path: Path) -> None:
    dataset_id = upload(store)
    blobs.replace_bytes(layout.blob("acme", SHA), bytes(len(DATA)))
    with pytest.raises(DataCorruptedError, match="upload it again"):
        store.fetch("acme", dataset_id, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_q12_a_disk_that_takes_no_more_loses_nothing_acknowledged(store: DatasetStore) -> None:
    dataset_id = begin(store)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.open_writer("acme", dataset_id, 0) as writer:
        writer.write(DATA[:300])
        assert writer.commit() == 300
        writer.write(DATA[300:310])
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, unlimited[1]))
        try:
            with pytest.raises(UnavailableError, match="could not write the upload"):
                writer.write(DATA[310:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        # What still fitted is kept: somebody may have been told of it.
        assert writer.commit() == 400
    assert store.committed_size("acme", dataset_id) == (400, False)
    store.append("acme", dataset_id, 400, [DATA[400:]])
    assert store.finish("acme", dataset_id).state is DatasetState.READY


def test_sweep_removes_only_what_is_old_and_not_in_use(store: DatasetStore, tmp_path: Path) -> None:
    old, held, new = (begin(store, parquet(rows)) for rows in (1, 2, 3))
    spool = tmp_path / "spool" / "acme"
    orphan = spool / f"{'0' * 32}.part"
    orphan.write_bytes(b"left by a crash")
    staged = spool / ".staged-crash"
    staged.write_bytes(b"left by a crash")
    for file in (spool / f"{old}.part", spool / f"{held}.part", orphan, staged):
        os.utime(file, (0, 0))
    with store.open_writer("acme", held, 0):
        assert store.sweep(max_age_s=3600) == [old]
    assert {dataset.id for dataset in store.list("acme")[0]} == {held, new}
    assert sorted(file.name for file in spool.iterdir()) == sorted(
        f"{name}.{kind}" for name in (held, new) for kind in ("json", "part")
    )


def test_bytes_left_without_a_record_do_not_count(store: DatasetStore, tmp_path: Path) -> None:
    spool = tmp_path / "spool" / "acme"
    spool.mkdir(parents=True)
    (spool / f"{ID}.part").write_bytes(b"left by a crash")
    assert upload(store) == ID
