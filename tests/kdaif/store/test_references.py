"""Files by reference: what is read, what is refused, and what happens when the file changes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kdaif.datasets import inspect
from kdaif.errors import AlreadyExistsError, DataCorruptedError, InvalidInputError, NotFoundError
from kdaif.model_files import inspect_safetensors
from kdaif.records import DatasetKind, DatasetState, OnnxSignature
from kdaif.store import BlobStore, DatasetStore, References
from tests.kdaif.store.conftest import parquet, sha256

DATA = parquet()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "deep er").mkdir(parents=True)
    (folder / "rows.parquet").write_bytes(DATA)
    (folder / "deep er" / "rows.parquet").write_bytes(DATA)
    (tmp_path / "secret.parquet").write_bytes(parquet(7))
    (tmp_path / "shared-not").mkdir()
    (tmp_path / "shared-not" / "rows.parquet").write_bytes(DATA)
    return folder


@pytest.fixture
def store(blobs: BlobStore, root: Path, tmp_path: Path) -> DatasetStore:
    return DatasetStore(
        blobs,
        tmp_path / "spool",
        inspect,
        inspect_model=lambda file, kind: inspect_safetensors(file),
        references=References(allowed_roots=(root,)),
    )


def test_a_file_is_read_once_and_no_byte_is_kept(
    store: DatasetStore, blobs: BlobStore, root: Path, tmp_path: Path
) -> None:
    uri = f"file://{root}/rows.parquet"
    found = store.register("acme", "rows", uri)
    assert (found.id, found.sha256, found.size_bytes) == (sha256(DATA)[:32], sha256(DATA), len(DATA))
    assert (found.state, found.row_count, found.uri, found.etag) == (DatasetState.READY, 50, uri, "")
    assert store.get("acme", found.id) == found
    assert store.list("acme")[0] == [found]
    assert blobs.list("tenants/acme/blobs") == []
    assert list((tmp_path / "spool" / "acme").iterdir()) == []
    assert store.fetch("acme", found.id, tmp_path / "cache").read_bytes() == DATA


@pytest.mark.parametrize("registered", ["before", "while uploading"])
def test_an_upload_of_registered_bytes_is_stored(
    store: DatasetStore, root: Path, tmp_path: Path, registered: str
) -> None:
    uri = f"file://{root}/rows.parquet"
    if registered == "before":
        store.register("acme", "rows", uri)
    uploading, committed = store.create("acme", "mine", sha256(DATA), len(DATA))
    assert (uploading.state, committed) == (DatasetState.UPLOADING, 0)
    assert store.append("acme", uploading.id, 0, [DATA[:10]]) == 10
    if registered != "before":
        store.register("acme", "rows", uri)
    # Jobs read the file where it is meanwhile; the upload goes on where it was.
    assert store.get("acme", uploading.id).uri == uri
    assert store.committed_size("acme", uploading.id) == (10, False)
    assert store.create("acme", "mine", sha256(DATA), len(DATA))[1] == 10
    store.append("acme", uploading.id, 10, [DATA[10:]])
    found = store.finish("acme", uploading.id)
    assert (found.state, found.uri, found.display_name) == (DatasetState.READY, "", "mine")
    assert store.get("acme", found.id) == found
    (root / "rows.parquet").unlink()
    assert store.fetch("acme", found.id, tmp_path / "cache").read_bytes() == DATA
    assert store.create("acme", "again", sha256(DATA), len(DATA)) == (found, len(DATA))
    store.delete("acme", found.id)
    assert store.list("acme")[0] == []


def test_delete_leaves_the_user_s_file(store: DatasetStore, root: Path) -> None:
    found = store.register("acme", "rows", f"file://{root}/rows.parquet")
    store.delete("acme", found.id)
    assert (root / "rows.parquet").read_bytes() == DATA
    with pytest.raises(NotFoundError):
        store.get("acme", found.id)


@pytest.mark.parametrize("later", [parquet(49), parquet(51), DATA[:-1], DATA + b"x", b""])
def test_a_file_that_changed_is_never_trained_on(store: DatasetStore, root: Path, tmp_path: Path, later: bytes) -> None:
    found = store.register("acme", "rows", f"file://{root}/rows.parquet")
    (root / "rows.parquet").write_bytes(later)
    with pytest.raises(DataCorruptedError, match="changed since it was registered"):
        store.fetch("acme", found.id, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_gone_and_one_that_moved(store: DatasetStore, root: Path, tmp_path: Path) -> None:
    found = store.register("acme", "rows", f"file://{root}/rows.parquet")
    (root / "rows.parquet").unlink()
    with pytest.raises(NotFoundError, match=r"rows\.parquet"):
        store.fetch("acme", found.id, tmp_path / "cache")
    moved = store.register("acme", "rows", f"file://{root}/deep%20er/rows.parquet")
    assert moved.id == found.id
    assert store.fetch("acme", found.id, tmp_path / "cache").read_bytes() == DATA


def test_uploaded_bytes_are_not_read_from_elsewhere(store: DatasetStore, root: Path, tmp_path: Path) -> None:
    dataset, _ = store.create("acme", "rows", sha256(DATA), len(DATA))
    store.append("acme", dataset.id, 0, [DATA])
    store.finish("acme", dataset.id)
    found = store.register("acme", "other", f"file://{root}/rows.parquet")
    assert (found.uri, found.display_name) == ("", "rows")
    (root / "rows.parquet").unlink()
    assert store.fetch("acme", found.id, tmp_path / "cache").read_bytes() == DATA


@pytest.mark.parametrize(
    "path",
    [
        "{root}/../secret.parquet",
        "{root}/%2e%2e/secret.parquet",
        "{root}/%2E%2E/secret.parquet",
        "{root}/..%2fsecret.parquet",
        "{root}/deep%20er%2frows.parquet",
        "{root}/./rows.parquet",
        "{root}//rows.parquet",
        "{root}/%252e%252e/secret.parquet",
        "{root}-not/rows.parquet",
        "{outside}/secret.parquet",
        "{root}",
        "{root}/",
        "/",
        "",
        "{root}/rows.parquet%00",
        "{root}/rows.parquet?x",
        "{root}/rows.parquet#x",
        "{root}/rows.parquet\n",
        "{root}/%ff",
        "localhost{root}/rows.parquet",
        "{host}{root}/rows.parquet",
        "127.0.0.1{root}/rows.parquet",
    ],
)
def test_every_way_out_is_refused(store: DatasetStore, root: Path, tmp_path: Path, path: str) -> None:
    uri = "file://" + path.format(root=root, outside=tmp_path, host=socket.gethostname())
    with pytest.raises((InvalidInputError, NotFoundError)) as caught:
        store.register("acme", "x", uri)
    # Twice encoded is once decoded: a name that is not there.
    assert isinstance(caught.value, NotFoundError) is ("%252e" in path)
    assert store.list("acme")[0] == []


@pytest.mark.parametrize("scheme", ["http", "FILE", "", "file:", "s3"])
def test_other_schemes_are_refused(store: DatasetStore, root: Path, scheme: str) -> None:
    with pytest.raises(InvalidInputError, match="uri"):
        store.register("acme", "x", f"{scheme}://{root}/rows.parquet")


def test_links_that_lead_out_are_refused_and_those_within_are_not(
    store: DatasetStore, root: Path, tmp_path: Path
) -> None:
    (root / "out.parquet").symlink_to(tmp_path / "secret.parquet")
    (root / "up").symlink_to(tmp_path)
    (root / "in.parquet").symlink_to(root / "rows.parquet")
    (root / "loop").symlink_to(root / "loop")
    for name in ("out.parquet", "up/secret.parquet", "up/shared-not/rows.parquet"):
        with pytest.raises(InvalidInputError, match="outside the folders"):
            store.register("acme", "x", f"file://{root}/{name}")
    assert store.register("acme", "x", f"file://{root}/in.parquet").row_count == 50


def test_a_link_put_there_after_the_check_is_not_followed(
    store: DatasetStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.path.realpath

    def resolve_then_swap(path: object) -> str:
        found = str(real(str(path)))
        if found.endswith("rows.parquet") and not (root / "rows.parquet").is_symlink():
            (root / "rows.parquet").unlink()
            (root / "rows.parquet").symlink_to(tmp_path / "secret.parquet")
        return found

    monkeypatch.setattr(os.path, "realpath", resolve_then_swap)
    with pytest.raises(Exception, match="could not read"):
        store.register("acme", "x", f"file://{root}/rows.parquet")
    assert store.list("acme")[0] == []


def test_what_is_no_regular_file_is_refused_at_once(store: DatasetStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    for name in ("pipe", "deep%20er"):
        with pytest.raises(InvalidInputError, match="no regular file"):
            store.register("acme", "x", f"file://{root}/{name}")
    with pytest.raises(NotFoundError):
        store.register("acme", "x", f"file://{root}/rows.parquet/below")


def test_outside_nothing_tells_what_is_there(store: DatasetStore, tmp_path: Path) -> None:
    said = []
    for name in ("secret.parquet", "missing.parquet"):
        with pytest.raises(InvalidInputError) as caught:
            store.register("acme", "x", f"file://{tmp_path}/{name}")
        said.append(str(caught.value).replace(name, "NAME"))
    assert said[0] == said[1]
    assert "KDAIF_ALLOWED_ROOTS" in said[0]


def test_nothing_is_allowed_by_default(blobs: BlobStore, root: Path, tmp_path: Path) -> None:
    closed = DatasetStore(blobs, tmp_path / "spool", inspect)
    for uri in (f"file://{root}/rows.parquet", "s3://bucket/key"):
        with pytest.raises(InvalidInputError, match="outside"):
            closed.register("acme", "x", uri)


def test_a_worker_that_does_not_allow_the_place_says_so(
    store: DatasetStore, blobs: BlobStore, root: Path, tmp_path: Path
) -> None:
    found = store.register("acme", "rows", f"file://{root}/rows.parquet")
    other = DatasetStore(blobs, tmp_path / "spool", inspect)
    with pytest.raises(InvalidInputError, match="KDAIF_ALLOWED_ROOTS"):
        other.fetch("acme", found.id, tmp_path / "cache")


def test_what_is_no_table_is_refused_and_nothing_stays(store: DatasetStore, root: Path, tmp_path: Path) -> None:
    (root / "notes.txt").write_bytes(b"no table")
    with pytest.raises(InvalidInputError, match="Parquet"):
        store.register("acme", "x", f"file://{root}/notes.txt")
    assert list((tmp_path / "spool" / "acme").iterdir()) == []
    store.register("acme", "rows", f"file://{root}/rows.parquet")
    with pytest.raises(InvalidInputError, match="safetensors"):
        store.register("acme", "rows", f"file://{root}/rows.parquet", DatasetKind.SAFETENSORS)


def test_the_same_bytes_are_of_one_kind(blobs: BlobStore, root: Path, tmp_path: Path) -> None:
    said = OnnxSignature((), (), 18)
    store = DatasetStore(
        blobs, tmp_path / "spool", inspect, inspect_model=lambda file, kind: said, references=References((root,))
    )
    found = store.register("acme", "m", f"file://{root}/rows.parquet", DatasetKind.ONNX)
    assert (found.kind, found.row_count, found.columns) == (DatasetKind.ONNX, 0, ())
    assert store.fetch("acme", found.id, tmp_path / "cache").suffix == ".onnx"
    with pytest.raises(AlreadyExistsError, match="as ONNX and not as TABLE"):
        store.register("acme", "m", f"file://{root}/rows.parquet")
    with pytest.raises(AlreadyExistsError, match="as ONNX and not as TABLE"):
        store.create("acme", "m", sha256(DATA), len(DATA))
    assert store.get("acme", found.id).model == said  # for whoever names it in a job
