"""Objects by reference, against moto's S3 server."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from kdaif.datasets import inspect
from kdaif.errors import DataCorruptedError, InvalidInputError, NotFoundError, UnavailableError
from kdaif.store import BlobStore, DatasetStore, References
from tests.kdaif.store.conftest import parquet, sha256
from tests.waiting import wait_for

SERVER = "import sys; from moto.server import main; main(sys.argv[1:])"
DATA = parquet()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on a port of its own choice, which it tells in its log."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", "0"], stdout=sink, stderr=sink
        )
    try:
        found = wait_for(lambda: re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()), timeout_s=60)
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=10)
    connection.request("PUT", "/data")
    assert connection.getresponse().status == 200
    connection.close()
    return S3Store("data", endpoint=endpoint, client_options={"allow_http": True})


@pytest.fixture
def store(blobs: BlobStore, endpoint: str, tmp_path: Path) -> DatasetStore:
    allowed = References(allowed_buckets=("s3://data/open",), s3_endpoint=endpoint)
    return DatasetStore(blobs, tmp_path / "spool", inspect, references=allowed)


def test_an_object_is_read_once_and_pinned(store: DatasetStore, bucket: S3Store, tmp_path: Path) -> None:
    put = obstore.put(bucket, "open/a b/rows.parquet", DATA)
    found = store.register("acme", "rows", "s3://data/open/a b/rows.parquet")
    assert (found.id, found.row_count, found.size_bytes) == (sha256(DATA)[:32], 50, len(DATA))
    assert found.etag == str(put["e_tag"]).strip('"')
    assert store.fetch("acme", found.id, tmp_path / "cache").read_bytes() == DATA
    store.delete("acme", found.id)
    assert obstore.get(bucket, "open/a b/rows.parquet").bytes().to_bytes() == DATA


def test_an_object_that_changed_is_never_trained_on(store: DatasetStore, bucket: S3Store, tmp_path: Path) -> None:
    obstore.put(bucket, "open/rows.parquet", DATA)
    found = store.register("acme", "rows", "s3://data/open/rows.parquet")
    obstore.put(bucket, "open/rows.parquet", parquet(51))
    with pytest.raises(DataCorruptedError, match="changed since it was registered"):
        store.fetch("acme", found.id, tmp_path / "cache")
    obstore.delete(bucket, "open/rows.parquet")
    with pytest.raises(NotFoundError, match=r"s3://data/open/rows\.parquet"):
        store.fetch("acme", found.id, tmp_path / "cache")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://data/closed/rows.parquet",
        "s3://data/open/../closed/rows.parquet",
        "s3://data/open-not/rows.parquet",
        "s3://data/open",
        "s3://data/open/",
        "s3://data/open//rows.parquet",
        "s3://other/open/rows.parquet",
        "s3:///open/rows.parquet",
        "s3://key:secret@data/open/rows.parquet",
    ],
)
def test_what_is_not_allowed_is_refused(store: DatasetStore, bucket: S3Store, uri: str) -> None:
    for key in ("closed/rows.parquet", "open-not/rows.parquet"):
        obstore.put(bucket, key, DATA)
    with pytest.raises(InvalidInputError, match="uri"):
        store.register("acme", "x", uri)


def test_an_encoded_dot_is_a_part_of_the_name(store: DatasetStore, bucket: S3Store) -> None:
    obstore.put(bucket, "closed/rows.parquet", DATA)
    with pytest.raises(NotFoundError):
        store.register("acme", "x", "s3://data/open/%2e%2e/closed/rows.parquet")


def test_a_bucket_that_is_not_there(blobs: BlobStore, endpoint: str, bucket: S3Store, tmp_path: Path) -> None:
    allowed = References(allowed_buckets=("s3://nothing",), s3_endpoint=endpoint)
    store = DatasetStore(blobs, tmp_path / "spool", inspect, references=allowed)
    with pytest.raises((NotFoundError, UnavailableError), match="s3://nothing/rows"):
        store.register("acme", "x", "s3://nothing/rows.parquet")
