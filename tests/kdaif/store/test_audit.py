from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from kdaif.records.audit import NOTHING_BEFORE, AuditEntry, AuditEvent, AuditKind, sha256_of
from kdaif.store import AuditLog, BlobStore, layout


def event(action: str, **details: str) -> AuditEvent:
    return AuditEvent(AuditKind.LINE, "tenants/acme/lines/x", action, "Ada", "because", details)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}")


def test_each_entry_holds_the_hash_of_the_one_before(blobs: BlobStore) -> None:
    log = AuditLog(blobs)
    assert log.head("acme") == (0, NOTHING_BEFORE)
    first = log.append("acme", event("promote", student="s"))
    second = AuditLog(blobs).append("acme", event("roll back"))
    third = log.append("acme", event("promote"))
    assert [each.number for each in (first, second, third)] == [1, 2, 3]
    assert first.previous_sha256 == NOTHING_BEFORE
    assert second.previous_sha256 == sha256_of(blobs.get_bytes(layout.audit_entry("acme", 1)))
    assert third.previous_sha256 == sha256_of(second.to_json())
    assert AuditLog(blobs).head("acme") == log.head("acme") == (3, sha256_of(third.to_json()))
    assert AuditEntry.from_json(log.record("acme", 1)) == first
    assert log.append("other", event("promote")).number == 1


def test_entries_come_newest_first_and_a_removed_one_hides_none_of_the_others(blobs: BlobStore) -> None:
    log = AuditLog(blobs)
    for number in range(6):
        log.append("acme", event(f"a{number}"))
    assert [number for number, _ in log.records("acme", before=None, limit=2)] == [6, 5]
    assert [number for number, _ in log.records("acme", before=5, limit=10)] == [4, 3, 2, 1]
    blobs.delete(layout.audit_entry("acme", 3))
    assert [number for number, _ in AuditLog(blobs).records("acme", before=None, limit=10)] == [6, 5, 4, 2, 1]
    assert AuditLog(blobs).append("acme", event("later")).number == 7


def test_of_many_writers_each_number_has_one_and_the_chain_holds(blobs: BlobStore) -> None:
    def write(name: str) -> None:
        log = AuditLog(blobs)
        for place in range(8):
            log.append("acme", event(f"{name}{place}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [record for _, record in AuditLog(blobs).records("acme", before=None, limit=100)][::-1]
    assert len({AuditEntry.from_json(record).event.action for record in found}) == 24
    for before, after in itertools.pairwise(found):
        assert AuditEntry.from_json(after).previous_sha256 == sha256_of(before)
