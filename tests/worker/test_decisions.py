"""A person's decisions, in rows and targets of an attempt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kdaif_worker.decisions import decisions_of, with_labels, with_weights
from kdaif_worker.messages import Assignment

from kdaif.datasets import DistillationData, Rows
from kdaif.datasets.rows import InputSignature
from kdaif.errors import InvalidDataError
from kdaif.records import DistillationSpec, PreflightReport
from kdaif.records.overrides import Override
from kdaif.records.spec import OverridesFrom
from kdaif.scratch import Scratch
from kdaif.store import BlobStore
from kdaif.store.overrides import append_overrides, read_overrides
from kdaif.teachers import SoftTargets
from kdaif.top_classes import TopClasses

_CLASSES = ("cat", "dog", "eel")


def _data(overrides: list[float] | None = None) -> DistillationData:
    def rows(ids: list[int]) -> Rows:
        features = np.zeros((len(ids), 2), dtype=np.float32)
        return Rows(np.array(ids), features, np.zeros(len(ids), dtype=np.int64))

    given = None if overrides is None else np.array(overrides)
    pool = Rows(np.array([10, 20, 30, 40]), np.zeros((4, 2), np.float32), np.empty(0, np.int64), weight_override=given)
    part = rows([1, 2])
    signature = InputSignature("numeric", (2,), ("a", "b"))
    return DistillationData(_CLASSES, signature, part, part, part, pool, part, PreflightReport(), test_is_given=True)


def _by_id(*overrides: Override) -> dict[str, Override]:
    return {override.id: override for override in overrides}


def test_pins_bans_and_labels_become_weights() -> None:
    decided = _by_id(
        Override("30", "pin", weight=2.5),
        Override("10", "ban"),
        Override("40", "relabel", class_name="eel"),
        Override("999", "ban"),
        Override("not a number", "ban"),
    )
    weights = with_weights(_data([np.nan, 0.5, 1.5, np.nan]), decided).unlabeled.weight_override
    assert weights is not None
    np.testing.assert_array_equal(weights, [0.0, 0.5, 2.5, 1.0])
    untouched = _data()
    assert with_weights(untouched, {}) is untouched


def test_a_relabelled_sample_of_targets_that_are_kept_by_their_largest() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(4, 3)
    kept = TopClasses.empty(4, 3, 2.0, Scratch(), kept=1)
    kept[:] = logits
    decided = _by_id(Override("20", "relabel", class_name="cat"))
    found = with_labels(SoftTargets(kept, None, None, None), _data(), decided, Scratch()).logits
    assert isinstance(found, TopClasses)
    for seen in (found, found.at_temperature()):
        np.testing.assert_allclose(np.exp(seen[1:2]), [[0.99, 0.005, 0.005]], rtol=1e-5)
    np.testing.assert_array_equal(found[2:], kept[2:])
    assert kept[1:2].max() == 5


def test_a_relabelled_sample_is_of_the_class_that_a_person_named() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(4, 3)
    targets = SoftTargets(logits, None, None, None)
    found = with_labels(targets, _data(), _by_id(Override("20", "relabel", class_name="cat")), Scratch())
    np.testing.assert_allclose(np.exp(found.logits[1]), [0.99, 0.005, 0.005], rtol=1e-5)
    np.testing.assert_array_equal(found.logits[[0, 2, 3]], logits[[0, 2, 3]])
    np.testing.assert_array_equal(targets.logits[1], [3, 4, 5])  # what the teacher said is kept elsewhere


def test_a_class_that_the_job_does_not_have_is_refused() -> None:
    targets = SoftTargets(np.zeros((4, 3), np.float32), None, None, None)
    with pytest.raises(InvalidDataError, match=r"relabelled as owl, .* it has cat, dog, eel"):
        with_labels(targets, _data(), _by_id(Override("20", "relabel", class_name="owl")), Scratch())


def _assignment(folder: Path, job_id: str, overrides: OverridesFrom | None = None) -> Assignment:
    spec = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32, overrides=overrides)
    return Assignment("default", job_id, 1, "", spec, f"file://{folder}", folder, None)


def test_a_re_run_of_a_re_run_inherits_everything(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")

    def decide(job: str, *overrides: Override) -> int:
        return append_overrides(blobs, "default", job, overrides, author="a", reason="r", time_ms=1).revision

    assert decide("one", Override("10", "ban"), Override("20", "ban")) == 1
    assert decide("one", Override("20", "clear"), Override("30", "pin", weight=2.0)) == 2
    assert decide("one", Override("40", "ban")) == 3
    second = _assignment(tmp_path, "two", OverridesFrom(job="one", revision=2))
    assert set(decisions_of(second, blobs)) == {"10", "30"}
    assert decisions_of(second, blobs) == decisions_of(second, blobs)
    assert [each.revision for each in read_overrides(blobs, "default", "two")] == [0]
    assert decide("two", Override("10", "clear")) == 1
    third = _assignment(tmp_path, "three", OverridesFrom(job="two", revision=1))
    assert set(decisions_of(third, blobs)) == {"30"}
    assert decisions_of(_assignment(tmp_path, "four"), blobs) == {}
