from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kdaif.errors import FailedPreconditionError, InvalidInputError, NotFoundError
from kdaif.records.lines import Canary, Line, LineAction, LineRevision
from kdaif.store import BlobStore, LineStore, layout, lines


def made(number: int, champion: str = "a", canary: str = "") -> LineRevision:
    line = Line((champion,), Canary(canary, 0.1, f"x.{number}") if canary else None)
    return LineRevision(number, LineAction.SET_CHAMPION, champion, "me", "", number, line)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}")


def test_revisions_are_appended_and_read_back_by_everybody(blobs: BlobStore) -> None:
    store, other = LineStore(blobs), LineStore(blobs)
    assert store.newest("acme", "x") is None
    assert store.append("acme", "x", made(1))
    assert not other.append("acme", "x", made(1, "b"))
    assert other.append("acme", "x", made(2, "b"))
    assert other.append("acme", "x", made(3, "c", "d"))
    assert store.newest("acme", "x") == made(3, "c", "d")
    assert LineStore(blobs).newest("acme", "x") == made(3, "c", "d")
    assert store.revision("acme", "x", 1) == made(1)
    with pytest.raises(NotFoundError):
        store.revision("acme", "x", 4)
    assert store.append("acme", "y", made(1, "e"))
    assert (store.names("acme"), store.names("other")) == (["x", "y"], [])
    assert store.in_use("acme") == {"c": "x", "d": "x", "e": "y"}
    assert layout.line_revision("acme", "x", 7) == "tenants/acme/lines/x/revision-000007.json"


def test_what_is_remembered_is_what_this_store_added_and_goes_stale(blobs: BlobStore) -> None:
    store = LineStore(blobs, fresh_s=60.0)
    assert store.remembered("acme", "x") is None
    store.append("acme", "x", made(1))
    assert store.remembered("acme", "x") == made(1)
    LineStore(blobs).append("acme", "x", made(2, "b"))
    assert store.remembered("acme", "x") == made(1)
    assert store.newest("acme", "x") == made(2, "b")
    assert store.remembered("acme", "x") == made(2, "b")
    assert LineStore(blobs, fresh_s=0.0).remembered("acme", "x") is None


def test_of_many_writers_each_number_has_one(blobs: BlobStore) -> None:
    won: list[tuple[int, str]] = []

    def write(name: str) -> None:
        store = LineStore(blobs)
        for _ in range(10):
            last = store.newest("acme", "x")
            number = 1 if last is None else last.revision + 1
            if store.append("acme", "x", made(number, name)):
                won.append((number, name))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in won) == list(range(1, len(won) + 1))
    store = LineStore(blobs)
    assert all(store.revision("acme", "x", number).line.champion == name for number, name in won)


@pytest.mark.parametrize("name", ["", "..", "X", "a/b", "a" * 64, "-a"])
def test_names_that_are_none_are_refused(blobs: BlobStore, name: str) -> None:
    with pytest.raises(InvalidInputError, match="line"):
        LineStore(blobs).newest("acme", name)


def test_there_is_an_end_to_revisions(blobs: BlobStore) -> None:
    with pytest.raises(FailedPreconditionError, match="another line"):
        LineStore(blobs).append("acme", "x", made(lines.MOST_REVISIONS + 1))
