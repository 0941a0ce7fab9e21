from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kdaif_worker import canary
from kdaif_worker import checkpoint as checkpoints
from kdaif_worker.arms import arm_names, train_all
from kdaif_worker.attempt_files import AttemptFiles
from kdaif_worker.canary import checked, shipped_arm, told
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.messages import Assignment, ProgressMessage

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.evaluation import predict
from kdaif.records import CanaryCheck, DistillationSpec, Mlp, PreflightReport, Training, Weighting
from kdaif.rounds import student_of
from kdaif.store import BlobStore
from kdaif.teachers import SoftTargets

CPU = torch.device("cpu")
CENTRES = np.random.default_rng(9).normal(size=(3, 6)) * 1.2


def part(n: int, seed: int, labelled: bool = True) -> Rows:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features = (CENTRES[labels] + generator.normal(size=(n, 6))).astype(np.float32)
    ids = np.array([f"r{seed}-{place}" for place in range(n)], dtype=object)
    return Rows(ids, features, labels if labelled else labels[:0])


def data(gate: int = 30) -> DistillationData:
    return DistillationData(
        class_names=("x", "y", "z"),
        signature=InputSignature("numeric", (6,), tuple("abcdef")),
        labeled=part(30, 1),
        validation=part(40, 2),
        gate=part(gate, 3),
        unlabeled=part(80, 4, labelled=False),
        test=part(50, 5),
        report=PreflightReport(),
        test_is_given=True,
    )


def targets() -> SoftTargets:
    said = np.random.default_rng(0).integers(0, 3, 80)
    return SoftTargets((3.0 * np.eye(3)[said]).astype(np.float32), None, None, None)


def assignment(folder: Path, attempt: int = 1, **weighting: Any) -> Assignment:
    spec = DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        student=Mlp(hidden_sizes=(8,)),
        training=Training(rounds=4, epochs_per_round=1, batch_size=32, seeds=1),
        weighting=Weighting(**weighting),
        control_arms=(),
    )
    return Assignment("default", "j", attempt, "", spec, f"file://{folder}", folder, 1)


class Stop(Exception):
    """The worker dies here."""


def check(
    given: Assignment, rows: DistillationData, *, stop_after: int = 99
) -> tuple[Checkpoint, list[ProgressMessage]]:
    blobs, said = BlobStore.open(given.blob_url), []

    def emit(message: ProgressMessage) -> None:
        said.append(message)
        if len(said) == stop_after:
            raise Stop

    files = AttemptFiles(given, blobs, emit)
    return checked(given, rows, targets(), CPU, files, emit, files.read_latest(), fraction=0.05), said


def test_a_check_that_was_cut_off_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    whole, said = check(assignment(tmp_path / "whole"), data())
    assert [message.progress.round for message in said] == [1, 2]
    assert said[-1].metrics.keys() == {"canary_auroc", "canary_stderr"}
    assert said[-1].progress.message == told(whole.canary, data())
    with pytest.raises(Stop):
        check(assignment(tmp_path / "cut"), data(), stop_after=1)
    rest, said = check(assignment(tmp_path / "cut", attempt=2), data())
    assert [message.progress.round for message in said] == [2]
    assert rest.canary is not None
    assert whole.canary is not None
    assert rest.canary.auroc == pytest.approx(whole.canary.auroc)
    assert rest.current is None


def test_a_finished_check_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = check(assignment(tmp_path), data())
    monkeypatch.setattr(canary, "train_arm", lambda *_, **__: pytest.fail("trained again"))
    again, said = check(assignment(tmp_path, attempt=2), data())
    assert again.canary == first.canary
    assert said == []


def test_too_few_rows_skip_the_check_and_it_is_said(tmp_path: Path) -> None:
    small = dataclasses.replace(data(gate=6), labeled=part(4, 1))
    point, said = check(assignment(tmp_path), small)
    assert point.canary is not None
    assert point.canary.auroc is None
    assert [message.metrics for message in said] == [{}]
    assert "skipped: there are rows for 3 wrong and 3 right canaries, and 5 of each" in said[0].progress.message
    assert shipped_arm(assignment(tmp_path).spec, point.canary) == "influence"


@pytest.mark.parametrize("weighting", [{"canary_bar": 0.0}, {"method": "uniform"}])
def test_a_check_that_is_off_says_nothing(tmp_path: Path, weighting: dict[str, Any]) -> None:
    point, said = check(assignment(tmp_path, **weighting), data())
    assert point == Checkpoint()
    assert said == []
    assert told(point.canary, data()) == ""


def test_weights_that_are_never_made_are_not_checked(tmp_path: Path) -> None:
    point, _ = check(assignment(tmp_path, scout_epochs=0, rounds_per_scoring=9), data())
    assert "no weights are made within 4 round(s)" in told(point.canary, data())


def test_the_arm_that_ships_is_trained_and_its_student_kept(tmp_path: Path) -> None:
    # At 1 only an ordering without a fault passes, up to its error, and 0 skips the check.
    for bar, shipped, arms in ((0.0, "influence", {"influence"}), (1.0, "uniform", {"influence", "uniform"})):
        given = assignment(tmp_path / shipped, canary_bar=bar)
        said: list[ProgressMessage] = []
        point = train_all(given, data(), targets(), CPU, BlobStore.open(given.blob_url), said.append)
        assert shipped_arm(given.spec, point.canary) == shipped
        assert {arm for arm, _ in point.finished} == arms
        assert [shard.round for shard in point.shards] == [1, 2, 4]  # of the influence arm, whatever is shipped
        assert said[-1].progress.fraction == pytest.approx(0.9)
        assert point.student is not None
        assert not any("weighting" in name or "beliefs" in name for name in point.student.tensors)
        said_on_test = predict(student_of(point.student, given.spec, data()), data().test.features, CPU)
        of_arm = {arm: finished.test_logits for (arm, _), finished in point.finished.items()}
        np.testing.assert_allclose(said_on_test, of_arm[shipped], rtol=1e-6)
        assert all(not np.allclose(logits, said_on_test) for arm, logits in of_arm.items() if arm != shipped)


def test_a_failed_check_adds_the_uniform_arm_once(tmp_path: Path) -> None:
    spec = assignment(tmp_path).spec
    failed = CanaryCheck(bar=0.5, flipped=9, kept=9, auroc=0.1, stderr=0.1)
    assert arm_names(spec, data(), failed) == ("influence", "uniform")
    assert arm_names(spec, data(), None) == ("influence",)
    asked = spec.model_copy(update={"control_arms": ("uniform", "supervised")})
    assert arm_names(asked, data(), failed) == ("influence", "uniform", "supervised")


def test_a_checkpoint_holds_the_check(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    for step, found in enumerate((None, CanaryCheck(0.5, 9, 8, 0.7, 0.1), CanaryCheck(0.5, 1, 1, skipped="few"))):
        checkpoints.write(blobs, "default", "j", 1, Checkpoint(step=step, canary=found))
        assert checkpoints.read_latest(blobs, "default", "j", 1).canary == found
