"""Explained samples at the end of an arm, and decisions in a review on the way there."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_worker import arms
from kdaif_worker.checkpoint import Checkpoint, read_latest
from kdaif_worker.evidence import chosen_rows
from kdaif_worker.messages import Assignment, ProgressMessage
from kdaif_worker.review import ReviewNeededError

from kdaif.datasets import DistillationData
from kdaif.records import AttemptManifest
from kdaif.records.evidence import EvidenceSearch
from kdaif.records.monitoring import Monitoring
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, layout
from tests.kdaif.rounds.test_train_arm import wrong_targets
from tests.worker.test_arms import CPU, DATA, assignment

QUIET = {"group_floor": 0.0, "class_drift": 0.0, "effective_share": 0.0, "reliability": 0.0}
IDS = [str(each) for each in DATA.unlabeled.ids]


def given(folder: Path, attempt: int = 1, rounds: int = 4, **monitoring: Any) -> Assignment:
    base = assignment(folder, rounds=rounds, epochs_per_round=1)
    spec = base.spec.model_copy(update={"monitoring": Monitoring(**{**QUIET, **monitoring})})
    weighting = spec.weighting.model_copy(update={"rounds_per_scoring": 10})
    return dataclasses.replace(base, spec=spec.model_copy(update={"weighting": weighting}), attempt=attempt)


def train(
    chosen: Assignment, blobs: BlobStore, data: DistillationData = DATA, revision: int = 0
) -> tuple[Checkpoint, list[ProgressMessage]]:
    told: list[ProgressMessage] = []
    return arms.train_all(chosen, data, wrong_targets(DATA, 0.5), CPU, blobs, told.append, revision=revision), told


def banned(*ids: str) -> DistillationData:
    overrides = np.array([0.0 if each in ids else np.nan for each in IDS])
    return dataclasses.replace(DATA, unlabeled=dataclasses.replace(DATA.unlabeled, weight_override=overrides))


def read(blobs: BlobStore, path: str) -> pa.Table:
    return pq.read_table(io.BytesIO(blobs.get_bytes(path)))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[BlobStore, Checkpoint]:
    folder = tmp_path_factory.mktemp("blobs")
    blobs = BlobStore.open(f"file://{folder}")
    asked = (IDS[33], "nobody")
    return blobs, train(given(folder, explain_ids=asked, explained_rows=12, explain_seconds=30.0), blobs)[0]


def test_the_asked_and_the_extreme_samples_of_each_class_are_explained(
    explained: tuple[BlobStore, Checkpoint],
) -> None:
    blobs, point = explained
    assert point.evidence is not None
    assert point.evidence.path == layout.evidence("default", "j1", 1)
    found = read(blobs, point.evidence.path)
    assert found["id"].to_pylist() == sorted(found["id"].to_pylist())
    rows = {row["id"]: row for row in found.to_pylist()}
    assert rows[IDS[33]]["chosen"] == "asked"
    weights = read(blobs, point.shards[-1].path).to_pandas()
    for label, of_class in weights.groupby("pseudo_label"):
        by_harm = of_class.sort_values("val_loss_change_if_upweighted", kind="stable")
        worst, best = by_harm.iloc[-1], by_harm.iloc[0]
        assert {worst["id"], best["id"]} <= rows.keys(), label
        assert rows[worst["id"]]["chosen"] in ("harmful", "asked")
    assert 12 <= len(rows) <= 14


def test_an_explanation_names_rows_of_v_by_sign_and_size_and_near_rows_by_distance(
    explained: tuple[BlobStore, Checkpoint],
) -> None:
    blobs, point = explained
    assert point.evidence is not None
    table = read(blobs, point.evidence.path)
    labels = {
        str(row): DATA.class_names[code] for row, code in zip(DATA.validation.ids, DATA.validation.labels, strict=True)
    }
    for row in table.to_pylist():
        helped, harmed = ([pair["loss_change"] for pair in row[name]] for name in ("helped", "harmed"))
        assert helped == sorted(helped)
        assert harmed == sorted(harmed, reverse=True)
        assert all(change < 0 for change in helped)
        assert all(change > 0 for change in harmed)
        assert all(labels[pair["id"]] == pair["label"] for pair in (*row["helped"], *row["harmed"]))
        distances = [each["distance"] for each in row["neighbours"]]
        assert distances == sorted(distances)
        assert len(distances) == 10
        assert row["id"] not in [each["id"] for each in row["neighbours"] if each["dataset"] == "unlabeled"]
    search = EvidenceSearch.from_metadata(table.schema.metadata)
    assert (search.samples, search.validation_rows) == (table.num_rows, len(DATA.validation))
    assert search.searched_rows == search.pool_rows == len(DATA.labeled) + len(DATA.unlabeled)
    assert 0 < search.seconds < search.budget_s == 30.0


def test_no_seconds_and_no_weights_explain_nothing(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    assert train(given(tmp_path, explain_seconds=0.0, rounds=1), blobs)[0].evidence is None


def test_overridden_samples_come_before_extreme_ones(tmp_path: Path) -> None:
    sink = io.BytesIO()
    influence = np.arange(-30, 30, dtype=np.float32)
    rows = {"id": IDS, "val_loss_change_if_upweighted": influence, "pseudo_label": ["x"] * 60}
    pq.write_table(pa.table(rows), sink)
    spec = given(tmp_path, explained_rows=6, explain_ids=(IDS[5],)).spec
    sink.seek(0)
    chosen = chosen_rows(sink, banned(*IDS[20:30]), spec, Scratch())
    assert list(chosen.items()) == [
        (5, "asked"),
        (20, "overridden"),
        (21, "overridden"),
        (22, "overridden"),
        (59, "harmful"),
        (0, "helpful"),
        (58, "harmful"),
    ]


def paused(folder: Path, blobs: BlobStore) -> str:
    with pytest.raises(ReviewNeededError) as stopped:
        train(given(folder, on_alarm="pause", effective_share=1.0), blobs)
    return str(stopped.value)


def test_a_paused_job_leaves_its_weights_to_look_at(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    assert "FEW_EFFECTIVE_ROWS" in paused(tmp_path, blobs)
    manifest = AttemptManifest.from_json(blobs.get_bytes(layout.review_manifest("default", "j1", 1)))
    assert (manifest.class_names, manifest.bundle) == (DATA.class_names, ())
    assert [shard.round for shard in manifest.weights] == [1]
    assert read(blobs, manifest.weights[0].path).num_rows == len(IDS)


def test_a_ban_in_the_review_is_in_the_weights_from_the_next_round_on(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    paused(tmp_path, blobs)
    resumed = given(tmp_path, attempt=2, on_alarm="pause", effective_share=1.0)
    point, told = train(resumed, blobs, banned(IDS[0], IDS[7]), revision=1)
    # Scorings are ten rounds apart: without the decision there is none after the first.
    assert [shard.round for shard in point.shards] == [1, 2]
    weights = dict(zip(*read(blobs, point.shards[-1].path).select(["id", "weight"]).to_pydict().values(), strict=True))
    assert weights[IDS[0]] == weights[IDS[7]] == 0.0
    assert point.revision == 1
    assert not [message for message in told if message.warning and "decisions" in message.progress.message]


def test_without_a_decision_a_resumed_job_goes_on_as_it_would_have(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    paused(tmp_path, blobs)
    point, _ = train(given(tmp_path, attempt=2, on_alarm="pause", effective_share=1.0), blobs)
    assert [shard.round for shard in point.shards] == [1]


def test_a_decision_after_the_weighted_arm_is_told_to_be_too_late(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    whole, _ = train(given(tmp_path, rounds=1), blobs)
    assert read_latest(blobs, "default", "j1", 2).finished.keys() == whole.finished.keys()
    point, told = train(given(tmp_path, attempt=2, rounds=1), blobs, banned(IDS[0]), revision=3)
    assert point.shards == whole.shards
    assert any(m.warning and "revision 3 came when" in m.progress.message for m in told)
