"""Records of jobs in the blob store: the newest counts, none is misread, and what a job left can be removed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from kdaif.errors import DataCorruptedError, FailureReason, NotFoundError
from kdaif.records import (
    DistillationSpec,
    Failure,
    Job,
    JobResult,
    JobSnapshot,
    JobState,
    PreflightReport,
    Progress,
)
from kdaif.store import (
    BlobStore,
    JobArchive,
    attempts_with_blobs,
    delete_checkpoints,
    delete_job,
    delete_shards,
    layout,
)

SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, class_names=("cat", "Eule"))
JOB = Job(
    tenant="acme",
    id="01j",
    state=JobState.FAILED,
    spec=SPEC,
    preflight=PreflightReport(),
    created_at_ms=1,
    attempt=2,
    display_name="über alles",
    progress=Progress("distil", 0.5),
    failure=Failure(FailureReason.NON_FINITE, "NaN in round 3", retryable=False, attempt=2),
    started_at_ms=2,
    ended_at_ms=3,
)


def snapshot(version: int, job: Job = JOB) -> JobSnapshot:
    return JobSnapshot(job=job, version=version, request_id="r-1", body_digest="d", event_count=9)


def test_a_record_comes_back_as_it_was(blobs: BlobStore) -> None:
    archive = JobArchive(blobs)
    archive.save(snapshot(1))
    assert archive.load("acme", "01j") == snapshot(1)
    result = JobResult(2, (), "no difference", math.nan)
    succeeded = replace(JOB, state=JobState.SUCCEEDED, failure=None, result=result)
    archive.save(snapshot(2, succeeded))
    found = archive.load("acme", "01j").job.result
    assert found is not None
    assert math.isnan(found.seconds)
    assert replace(found, seconds=0.0) == replace(result, seconds=0.0)


def test_the_newest_counts_whoever_writes_last(blobs: BlobStore) -> None:
    one, other = JobArchive(blobs), JobArchive(blobs)
    one.save(snapshot(9))
    one.save(snapshot(9))
    other.save(snapshot(10, replace(JOB, attempt=3)))
    one.save(snapshot(9))  # a server that was slow
    assert one.load("acme", "01j").version == 10
    other.save(snapshot(11))
    assert blobs.files(layout.job_folder("acme", "01j")) == [layout.job_record("acme", "01j", 11)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data: data[: len(data) // 2], "is no record of a job"),
        (lambda data: b"", "is no record of a job"),
        (
            lambda data: data.replace(b'"format_version": 1', b'"format_version": 2'),
            "read it with the kdaif that wrote",
        ),
        (lambda data: data.replace(b'"labeled"', b'"labelled"'), r"snapshot\.job\.spec\.labeled"),
        (lambda data: data.replace(b'"acme"', b'"other"'), "is the record of job 01j of 'other'"),
    ],
)
def test_what_is_no_record_is_told(blobs: BlobStore, change: object, what: str) -> None:
    archive = JobArchive(blobs)
    archive.save(snapshot(1))
    path = layout.job_record("acme", "01j", 1)
    blobs.replace_bytes(path, change(blobs.get_bytes(path)))  # type: ignore[operator]
    with pytest.raises(DataCorruptedError, match=what) as caught:
        archive.load("acme", "01j")
    assert path in str(caught.value)


def test_what_a_job_left_is_removed_and_nothing_else(blobs: BlobStore, tmp_path: Path) -> None:
    archive = JobArchive(blobs)
    archive.save(snapshot(1))
    archive.save(snapshot(1, replace(JOB, id="01k")))
    checkpoint = layout.checkpoint("acme", "01j", 2, 5)
    shard = layout.weights_shard("acme", "01j", 2, 1)
    dataset = layout.dataset("acme", "c" * 32)
    for path in (checkpoint, shard, dataset, layout.bundle_file("acme", "01j", 2, "model.onnx")):
        blobs.put_bytes(path, b"x")
    scores = layout.shard_scores("acme", "01j", "ab" * 32, "cd" * 32)
    blobs.put_bytes(scores, b"x")
    assert delete_shards(blobs, "acme", "01j") == 1
    assert blobs.exists(checkpoint)
    blobs.put_bytes(scores, b"x")
    assert delete_checkpoints(blobs, "acme", "01j") == 2
    assert (blobs.exists(checkpoint), blobs.exists(shard)) == (False, True)
    assert delete_job(blobs, "acme", "01j") == 3
    assert delete_job(blobs, "acme", "01j") == 0
    assert blobs.folders(layout.jobs("acme")) == ["01k"]
    assert blobs.exists(dataset)
    with pytest.raises(NotFoundError, match="no record of job 01j"):
        archive.load("acme", "01j")
    assert archive.load("acme", "01k").job.id == "01k"


def test_attempts_are_found_across_the_gap_of_a_rebuild(blobs: BlobStore) -> None:
    assert attempts_with_blobs(blobs, "acme", "01j", 5) == []
    JobArchive(blobs).save(snapshot(1))
    for attempt in (2, 1, 1001, 1002):
        blobs.put_bytes(layout.checkpoint("acme", "01j", attempt, 1), b"x")
    assert attempts_with_blobs(blobs, "acme", "01j", 1001) == [1, 2, 1001]
