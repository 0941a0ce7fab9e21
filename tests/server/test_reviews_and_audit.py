"""Weights of a job that awaits a review, decisions on it, explained samples, and the log of who decided what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client import AuditEntry, Client, Job, JobState, cli
from kdaif_client.errors import FailedPrecondition, InvalidArgument, KdaifClientError, NotFound
from kdaif_server.settings import ServerSettings
from typer.testing import CliRunner

from kdaif.queue import JobQueue
from kdaif.records import AttemptManifest, WeightsShard, WorkerOffer
from kdaif.records.evidence import EvidenceSearch, evidence_schema
from kdaif.records.provenance import Provenance
from kdaif.store import BlobStore, layout
from tests.server.serving import CLASSES, serving, submit, weights, with_queue
from tests.server.students import add_student

SEARCH = EvidenceSearch(2, 40, 900, 1000, 1.5, 5.0, 0.03)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore.open(f"file://{tmp_path}/blobs")


@pytest.fixture
def client(valkey_url: str, tmp_path: Path) -> Iterator[Client]:
    with serving(ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)) as target, Client(target) as client:
        yield client


def stored(blobs: BlobStore, path: str, table: pa.Table, folder: Path) -> WeightsShard:
    file = folder / f"{hashlib.sha256(path.encode()).hexdigest()}.parquet"
    pq.write_table(table, file)
    blobs.put_file(path, file)
    return WeightsShard(1, path, hashlib.sha256(file.read_bytes()).hexdigest(), table.num_rows)


def evidence() -> pa.Table:
    pairs = [{"id": "v-1", "label": "cat", "loss_change": -2e-3}, {"id": "v-2", "label": "dog", "loss_change": -1e-3}]
    near = [{"dataset": "labeled", "id": "l-9", "label": "cat", "distance": 0.0}]
    columns = {
        "id": [7, 11],
        "chosen": ["asked", "harmful"],
        "mean": [-1e-4, None],
        "helped": [pairs, []],
        "harmed": [[], []],
        "neighbours": [near, near],
    }
    return pa.table(columns, schema=evidence_schema(pa.int64()).with_metadata(SEARCH.metadata()))


def paused(client: Client, url: str, blobs: BlobStore, folder: Path, *, readable: bool = True) -> Job:
    """A job that a worker put before a person, with 30 weights."""
    job = submit(client)

    async def pause(queue: JobQueue) -> None:
        claim = await queue.claim(WorkerOffer("test"))
        assert claim is not None
        names = (claim.job.tenant, claim.job.id, claim.token)
        if readable:
            made_by = Provenance(
                claim.job.id, claim.token, 1, 0, "head", 0.03, 32, 0.5, "1.0", teacher_trust=0.25, least_sureness=-1.0
            )
            table = weights(30).replace_schema_metadata(made_by.metadata())
            shard = stored(blobs, layout.weights_shard(*names, 1), table, folder)
            explained = stored(blobs, layout.evidence(*names), evidence(), folder)
            manifest = AttemptManifest(claim.job.id, claim.token, CLASSES, (), (shard,), 1, explained)
            blobs.put_bytes(layout.review_manifest(*names), manifest.to_json())
        await queue.await_review(claim, "GROUP_FLOOR: the women weigh little")

    with_queue(url, pause)
    assert job.refresh().state is JobState.AWAITING_REVIEW
    return job


def told(entry: AuditEntry) -> tuple[int, str, str, str, str]:
    return entry.number, entry.kind, entry.action, entry.author, entry.reason


def test_weights_can_be_read_and_overruled_while_a_job_awaits_its_review(
    client: Client, valkey_url: str, blobs: BlobStore, tmp_path: Path
) -> None:
    job = paused(client, valkey_url, blobs, tmp_path)
    assert [weight.id for weight in job.weights(limit=3)] == ["0", "1", "2"]
    assert job.summarize_weights().rows == 30
    revision = job.override(ban=["3"], author="Ada", reason="a smudge")
    assert revision.revision == 1
    with pytest.raises(InvalidArgument, match="which is no class of this job"):
        job.resume(relabel={"4": "fox"}, author="Ada", reason="it is one")
    with pytest.raises(InvalidArgument, match="reason has 0 characters"):
        job.resume(ban=["4"], author="Ada")
    with pytest.raises(NotFound, match="99"):
        job.resume(ban=["99"], author="Ada", reason="gone")
    assert job.refresh().state is JobState.AWAITING_REVIEW  # nothing was done by halves
    assert job.resume(ban=["4"], pin={"5": 2.0}, author="Bo", reason="seen").state is JobState.QUEUED
    revisions = job.override_revisions()
    assert [(each.revision, each.author, [o.id for o in each.overrides]) for each in revisions] == [
        (1, "Ada", ["3"]),
        (2, "Bo", ["5", "4"]),
    ]
    with pytest.raises(FailedPrecondition, match="QUEUED"):
        job.override(ban=["6"], author="Ada", reason="late")
    with pytest.raises(FailedPrecondition, match="only a job that is AWAITING_REVIEW can be resumed"):
        job.resume(author="Bo")
    assert [told(entry) for entry in client.audit()] == [
        (3, "REVIEW", "resume", "Bo", "seen"),
        (2, "OVERRIDES", "set overrides", "Bo", "seen"),
        (1, "OVERRIDES", "set overrides", "Ada", "a smudge"),
    ]
    newest, _, first = client.audit()
    assert newest.subject == first.subject == job.name
    assert newest.details == {"alarm": "GROUP_FLOOR: the women weigh little", "overrides_revision": "2"}
    assert json.loads(first.details["decisions"]) == [{"id": "3", "decision": "ban"}]


def test_a_rejection_is_in_the_log_with_who_and_why(
    client: Client, valkey_url: str, blobs: BlobStore, tmp_path: Path
) -> None:
    job = paused(client, valkey_url, blobs, tmp_path, readable=False)
    with pytest.raises(FailedPrecondition, match="left no weights to look at"):
        list(job.weights())
    assert job.reject("the floor stands", author="Cy").state is JobState.FAILED
    (entry,) = client.audit()
    assert told(entry) == (1, "REVIEW", "reject", "Cy", "the floor stands")


def test_explained_samples_tell_pairs_and_neighbours_and_others_how_to_get_them(
    client: Client, valkey_url: str, blobs: BlobStore, tmp_path: Path
) -> None:
    job = paused(client, valkey_url, blobs, tmp_path)
    found = job.explain(7).evidence
    assert found is not None
    assert (found.chosen, found.mean) == ("asked", -1e-4)
    assert [(pair.id, pair.label, pair.loss_change) for pair in found.helped] == [
        ("v-1", "cat", -2e-3),
        ("v-2", "dog", -1e-3),
    ]
    assert (found.harmed, found.neighbours[0].id, found.neighbours[0].distance) == ((), "l-9", 0.0)
    assert found.search is not None
    assert (found.search.samples, found.search.searched_rows, found.search.pool_rows) == (2, 900, 1000)
    text = str(job.explain(7))
    assert "Helps most: v-1 (cat) -2.00e-03; v-2 (dog) -1.00e-03." in text
    assert "Harms most: no validation row." in text
    assert "l-9 (labeled, cat) at 0.000, nearly the same." in text
    assert "among 900 of 1,000 rows" in text
    assert "the 5 s of monitoring.explain_seconds were over" in str(job.explain(11))
    assert "The teacher's own confidence is trusted at 25%" in text
    made_by = job.summarize_weights().provenance
    assert made_by is not None
    assert made_by == job.explain(7).provenance
    assert (made_by.teacher_trust, made_by.least_sureness) == (0.25, -1.0)
    other = job.explain(12)
    assert other.evidence is not None
    assert other.evidence.chosen == ""
    assert "not among the 2 samples that the job explained" in str(other)
    assert "kdaif rerun --explain 12" in str(other)
    with pytest.raises(NotFound, match="99"):
        job.explain(99)


def test_a_change_of_a_line_is_in_the_log_and_one_that_is_refused_is_not(
    client: Client, valkey_url: str, blobs: BlobStore
) -> None:
    wrong = np.zeros(200, dtype=bool)
    student = f"tenants/default/students/{add_student(valkey_url, blobs, wrong)}"
    line = client.line("intents")
    with pytest.raises(NotFound):
        line.promote(author="Ada", reason="no such line")
    line.set_champion(student, author="Ada", reason="the first")
    (entry,) = client.audit()
    assert told(entry) == (1, "LINE", "set champion", "Ada", "the first")
    assert entry.subject == "tenants/default/lines/intents"
    assert entry.details["revision"] == "1"


def test_the_chain_shows_what_was_changed_removed_or_cut_off(
    client: Client, valkey_url: str, blobs: BlobStore, tmp_path: Path
) -> None:
    job = paused(client, valkey_url, blobs, tmp_path)
    for sample in ("1", "2", "3", "4"):
        job.override(ban=[sample], author="Ada", reason=f"sample {sample}")
    report = client.verify_audit()
    assert (report.entries, report.number, report.faults) == (4, 4, ())
    noted = (report.number, report.sha256)
    assert client.verify_audit(noted).faults == ()
    runner = CliRunner()
    target = client._rpc.target
    shown = runner.invoke(cli.app, ["audit", "--target", target])
    assert shown.exit_code == 0, shown.output
    assert "set overrides" in shown.output
    verified = runner.invoke(cli.app, ["audit", "--verify", "--target", target, "--json"])
    assert json.loads(verified.stdout)["sha256"] == report.sha256

    second = layout.audit_entry("default", 2)
    record = blobs.get_bytes(second)
    blobs.replace_bytes(second, record.replace(b"Ada", b"Eve"))
    assert client.verify_audit().faults == ("entry 2 was changed: entry 3 holds another hash of it",)
    blobs.replace_bytes(second, b"nothing")
    assert client.verify_audit().faults == (
        "entry 2 is not what its record says",
        "entry 2 was changed: entry 3 holds another hash of it",
    )
    blobs.delete(second)
    assert client.verify_audit().faults == ("entry 2 was removed",)
    failed = runner.invoke(cli.app, ["audit", "--verify", "--target", target])
    assert failed.exit_code == 1
    blobs.put_bytes(second, record)
    assert client.verify_audit(noted).faults == ()
    forged = (noted[0], "f" * 64)
    assert client.verify_audit(forged).faults == ("entry 4 is another than the one that was noted",)
    assert client.verify_audit((9, noted[1])).faults == ("entry 9 is gone",)
    assert client.verify_audit() == report


def test_a_decision_that_the_store_does_not_take_is_withdrawn(
    client: Client, valkey_url: str, blobs: BlobStore, tmp_path: Path
) -> None:
    job = paused(client, valkey_url, blobs, tmp_path)
    # Something else stands where the revisions belong, so that none can be written.
    folder = tmp_path / "blobs" / layout.override_revisions("default", job.name.rsplit("/", 1)[-1])
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_bytes(b"")
    with pytest.raises(KdaifClientError):
        job.override(ban=["1"], author="Ada", reason="a smudge")
    entries = list(client.audit())
    assert [(entry.kind, entry.details.get("entry")) for entry in entries] == [("WITHDRAWN", "1"), ("OVERRIDES", None)]
