"""The checker is checked: histories that must be refused are."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.errors import FailureReason
from kdaif.records import (
    AttemptManifest,
    DistillationSpec,
    Failure,
    Job,
    JobEvent,
    JobResult,
    JobState,
    PreflightReport,
    WeightsShard,
)
from kdaif.store import BlobStore, layout
from tests.chaos.history import Artifacts, JobHistory, Submitted, with_other_weights
from tests.chaos.invariants import Invariant, violations
from tests.chaos.stand_in_shards import expected_weights

S = JobState
LOST = Failure(FailureReason.LOST, "its worker is gone", retryable=True, attempt=1)


def events(*said: tuple[str, JobState, int] | tuple[str, JobState, int, int]) -> list[JobEvent]:
    """Kind, state and attempt of each; the fourth is the attempt that speaks."""
    return [
        JobEvent(
            sequence=place,
            time_ms=1000 * place,
            kind=each[0],
            state=each[1],
            attempt=each[2],
            metrics={"said_by": each[3]} if len(each) == 4 else {},
        )
        for place, each in enumerate(said, start=1)
    ]


# A job whose first worker was lost.
GOOD = events(
    ("queued", S.QUEUED, 0),
    ("claimed", S.RUNNING, 1),
    ("round", S.RUNNING, 1, 1),
    ("requeued", S.QUEUED, 1),
    ("claimed", S.RUNNING, 2),
    ("round", S.RUNNING, 2, 2),
    ("finished", S.SUCCEEDED, 2),
)


def history(said: Sequence[JobEvent] = GOOD, *, job_id: str = "a" * 26, **changes: object) -> JobHistory:
    job = Job(
        tenant="acme",
        id=job_id,
        state=said[-1].state,
        spec=DistillationSpec(labeled="0" * 32, unlabeled="1" * 32),
        preflight=PreflightReport(),
        created_at_ms=0,
        attempt=said[-1].attempt,
        display_name="plain-1",
        result=JobResult(said[-1].attempt, (), "", 1.0) if said[-1].state is S.SUCCEEDED else None,
    )
    found = JobHistory(job, said, Artifacts(manifest_attempt=said[-1].attempt, manifest_job=job_id, seen_attempt=2))
    if said[-1].state is not S.SUCCEEDED:
        found = dataclasses.replace(found, artifacts=Artifacts())
    of_job = {name: value for name, value in changes.items() if name != "artifacts"}
    found = dataclasses.replace(found, job=dataclasses.replace(job, **of_job))  # type: ignore[arg-type]
    return dataclasses.replace(found, artifacts=changes["artifacts"]) if "artifacts" in changes else found  # type: ignore[arg-type]


def submitted(*job_ids: str, seen_ended: JobState | None = None) -> Submitted:
    return Submitted("acme", "plain-1", frozenset(job_ids or ("a" * 26,)), seen_ended)


def broken(found: JobHistory, *, by: Submitted | None = None) -> set[Invariant]:
    return {violation.invariant for violation in violations([by or submitted()], [found])}


def test_a_good_history_is_accepted() -> None:
    assert violations([submitted(seen_ended=S.SUCCEEDED)], [history()]) == []


def test_a_retry_by_a_person_is_no_second_finish() -> None:
    retried = events(
        ("queued", S.QUEUED, 0),
        ("claimed", S.RUNNING, 1),
        ("finished", S.FAILED, 1),
        ("queued", S.QUEUED, 1),
        ("claimed", S.RUNNING, 2),
        ("finished", S.SUCCEEDED, 2),
    )
    assert violations([submitted(seen_ended=S.FAILED)], [history(retried)]) == []


def test_an_acknowledged_job_that_is_gone_is_lost() -> None:
    found = violations([submitted()], [])
    assert [violation.invariant for violation in found] == [Invariant.LOST]
    assert "acknowledged" in str(found[0])


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_a_job_that_does_not_end_is_lost(cut: int) -> None:
    assert Invariant.LOST in broken(history(GOOD[:cut]))


def test_a_record_that_disagrees_with_its_last_event_is_lost() -> None:
    assert Invariant.LOST in broken(history(state=S.FAILED, result=None, artifacts=Artifacts()))


def test_a_second_finish_is_doubled() -> None:
    twice = events(*((event.kind, event.state, event.attempt) for event in GOOD), ("finished", S.SUCCEEDED, 2))
    assert Invariant.DOUBLED in broken(history(twice))


def test_two_owners_of_one_attempt_are_doubled() -> None:
    shared = events(
        ("queued", S.QUEUED, 0),
        ("claimed", S.RUNNING, 1),
        ("claimed", S.RUNNING, 1),
        ("finished", S.SUCCEEDED, 1),
    )
    assert broken(history(shared)) == {Invariant.DOUBLED, Invariant.STALE}  # the client of `history` saw attempt 2


def test_two_jobs_of_one_request_are_doubled() -> None:
    pair = [history(), history(job_id="b" * 26)]
    assert {v.invariant for v in violations([submitted()], pair)} == {Invariant.DOUBLED}
    assert {v.invariant for v in violations([submitted("a" * 26, "b" * 26)], pair)} == {Invariant.DOUBLED}


def test_an_end_that_a_client_saw_and_that_changed_is_doubled() -> None:
    assert broken(history(), by=submitted(seen_ended=S.DEAD)) == {Invariant.DOUBLED}


@pytest.mark.parametrize(
    "stale",
    [
        history(result=JobResult(1, (), "", 1.0)),
        history(artifacts=Artifacts(manifest_attempt=1, manifest_job="a" * 26)),
        history(artifacts=Artifacts(manifest_attempt=2, manifest_job="b" * 26)),
        history(artifacts=Artifacts(manifest_attempt=2, manifest_job="a" * 26, seen_attempt=1)),
        history(artifacts=Artifacts(manifest_attempt=2, manifest_job="a" * 26, faults=("model.onnx: another hash",))),
        history(events(("queued", S.QUEUED, 0), ("finished", S.CANCELLED, 0)), artifacts=Artifacts(seen_attempt=1)),
        history(
            events(
                ("queued", S.QUEUED, 0),
                ("claimed", S.RUNNING, 1),
                ("requeued", S.QUEUED, 1),
                ("claimed", S.RUNNING, 2),
                ("round", S.RUNNING, 2, 1),
                ("finished", S.SUCCEEDED, 2),
            )
        ),
        history(
            events(
                ("queued", S.QUEUED, 0),
                ("claimed", S.RUNNING, 1),
                ("requeued", S.QUEUED, 1),
                ("round", S.QUEUED, 1, 1),
                ("claimed", S.RUNNING, 2),
                ("finished", S.SUCCEEDED, 2),
            )
        ),
    ],
)
def test_what_a_fenced_attempt_shows_is_stale(stale: JobHistory) -> None:
    assert broken(stale) == {Invariant.STALE}


def test_weights_that_shards_made_otherwise_are_told() -> None:
    made = Artifacts(manifest_attempt=2, manifest_job="a" * 26, seen_attempt=2, other_weights=("round 1",))
    assert broken(history(artifacts=made)) == {Invariant.OTHER_WEIGHTS}


def parquet(weight: float, job: str) -> bytes:
    table = pa.table({"weight": [1.0, weight]}).replace_schema_metadata({"job": job})
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "made", "other"),
    [
        ("sharded", [expected_weights("sharded-1", 1), expected_weights("sharded-1", 2)], ()),
        ("sharded", [expected_weights("sharded-1", 1), expected_weights("sharded-1", 1)], ("round 2",)),
        ("realsharded", [parquet(0.5, "one"), parquet(0.25, "one")], ()),
        ("realsharded", [parquet(0.5, "one"), parquet(0.25000000000000006, "one")], ("round 2",)),
        ("realsharded", [parquet(0.5, "one")], ("round 2",)),
        ("plain", [b"anything"], ()),
    ],
)
def test_weights_of_shards_are_held_against_those_of_a_run_without_harm(
    tmp_path: Path, kind: str, made: list[bytes], other: tuple[str, ...]
) -> None:
    blobs, found = BlobStore.open(f"file://{tmp_path}"), history(display_name=f"{kind}-1")
    shards = []
    for number, data in enumerate(made, start=1):
        path = layout.weights_shard("acme", "a" * 26, 2, number)
        blobs.put_bytes(path, data)
        shards.append(WeightsShard(number, path, "ab" * 32, 2))
    manifest = AttemptManifest("a" * 26, 2, ("no", "yes"), (), tuple(shards), created_at_ms=0)
    blobs.put_bytes(layout.attempt_manifest("acme", "a" * 26, 2), manifest.to_json())
    unharmed = {1: parquet(0.5, "another"), 2: parquet(0.25, "another")}
    assert with_other_weights(found, blobs, unharmed).artifacts.other_weights == other


def test_a_gap_in_the_events_and_a_forbidden_transition_are_out_of_order() -> None:
    assert Invariant.ORDER in broken(history([*GOOD[:2], *GOOD[3:]]))
    revived = events(
        ("queued", S.QUEUED, 0),
        ("claimed", S.RUNNING, 1),
        ("finished", S.SUCCEEDED, 1),
        ("claimed", S.RUNNING, 2),
        ("finished", S.SUCCEEDED, 2),
    )
    assert {Invariant.ORDER, Invariant.DOUBLED} <= broken(history(revived))
