"""Weights that cannot find planted wrong labels do not ship: a job where they can, and one where nobody could."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from kdaif_client import Client, Dataset, Job, JobEvent, Mlp, Student, TrainedTeacher, Training, Weighting
from sklearn.datasets import load_digits

from tests.e2e.conftest import Stack
from tests.e2e.digits import images_table

OVERRIDES = {"u-00003": 0.0, "u-00005": 2.5}


@dataclass(frozen=True)
class Finished:
    """One job, run once for all tests of this module."""

    job: Job
    events: list[JobEvent]
    student: Student
    folder: Path
    test_images: np.ndarray
    test_labels: np.ndarray

    def accuracy(self) -> float:
        predicted = np.asarray(self.student.predict(self.test_images))
        return float(np.mean(predicted == self.test_labels.astype(str)))

    def arm(self, name: str) -> Any:
        return next(arm for arm in self.job.result.arms if arm.arm == name)

    def json(self, file: str) -> Any:
        return json.loads((self.folder / file).read_text())


def run(client: Client, folder: Path, *, shuffled: bool, weighting: Weighting) -> Finished:
    """Digits; where ``shuffled``, the human labels of training, validation and gate rows say nothing about the rows."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = (bunch.images[order] * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target[order].astype(np.int64)
    given = np.random.default_rng(1).permutation(labels) if shuffled else labels
    pool = images_table("u", images[250:550])
    overrides = pa.array([OVERRIDES.get(row) for row in pool["id"].to_pylist()], pa.float64())

    def upload(prefix: str, rows: slice, values: np.ndarray) -> Dataset:
        return client.upload_dataset(images_table(prefix, images[rows], label=values[rows]), name=prefix)

    job = client.submit(
        labeled=upload("l", slice(0, 100), given),
        validation=upload("v", slice(100, 250), given),
        test=upload("t", slice(600, 1000), labels),
        unlabeled=client.upload_dataset(pool.append_column("weight_override", overrides), name="u"),
        teacher=TrainedTeacher(Mlp((256, 128)), epochs=30),
        student=Mlp(hidden_sizes=(32,)),
        training=Training(rounds=3, epochs_per_round=4, seeds=1),
        weighting=weighting,
        control_arms=("supervised",),
    )
    events = list(job.watch())
    job.wait(timeout_s=60)
    student = job.download_student(folder)
    return Finished(job, events, student, folder, images[600:1000], labels[600:1000])


@pytest.fixture(scope="module")
def failed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with Client(stack.target) as client:
        folder = tmp_path_factory.mktemp("failed") / "bundle"
        yield run(client, folder, shuffled=True, weighting=Weighting(canary_bar=0.9))


@pytest.fixture(scope="module")
def passed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with Client(stack.target) as client:
        folder = tmp_path_factory.mktemp("passed") / "bundle"
        yield run(client, folder, shuffled=False, weighting=Weighting())


def test_labels_that_say_nothing_make_the_check_fail_and_the_uniform_student_ship(failed: Finished) -> None:
    result = failed.job.result
    assert result.shipped_arm == "uniform"
    assert result.canary_auroc is not None
    assert result.canary_stderr is not None
    assert result.canary_auroc + result.canary_stderr < 0.9
    assert result.canary.startswith("The canary check failed: ")
    assert "so the student of the uniform arm is shipped" in result.canary
    assert "the weight override of 2 rows has no effect on it" in result.canary
    assert result.verdict.startswith(result.canary)
    # The uniform arm was not asked for, and the influence arm is compared with it all the same.
    assert [arm.arm for arm in result.arms] == ["influence", "supervised", "uniform", "teacher"]


def test_the_file_holds_the_uniform_student(failed: Finished) -> None:
    assert failed.accuracy() == pytest.approx(failed.arm("uniform").accuracy_per_seed[0], abs=1e-9)
    assert failed.accuracy() != pytest.approx(failed.arm("influence").accuracy_per_seed[0], abs=1e-9)
    assert all(entry["passed"] for entry in failed.json("certificate.json")["parity"])


def test_a_fallback_is_told_everywhere(failed: Finished, client: Client) -> None:
    assert failed.json("manifest.json")["shipped_arm"] == "uniform"
    report = failed.json("report.json")
    assert report["shipped_arm"] == "uniform"
    assert report["canary"] == {
        "sentence": failed.job.result.canary,
        "canary_auroc": failed.job.result.canary_auroc,
        "canary_stderr": failed.job.result.canary_stderr,
    }
    page = (failed.folder / "report.html").read_text()
    assert "<h1>The canary check failed</h1>" in page
    assert "<span>Uniform weights</span><small>shipped</small>" in page
    assert next(s for s in client.list_students() if s.name == failed.job.result.student).shipped_arm == "uniform"
    told = next(event for event in failed.events if event.kind == "canary")
    assert told.progress is not None
    assert told.progress.message == failed.job.result.canary
    assert told.metrics == {
        "canary_auroc": failed.job.result.canary_auroc,
        "canary_stderr": failed.job.result.canary_stderr,
    }


def test_the_weights_can_still_be_read(failed: Finished) -> None:
    assert failed.job.weights_table().num_rows == 300


def test_labels_that_can_be_learned_pass_and_the_influence_student_ships(passed: Finished) -> None:
    result = passed.job.result
    assert result.shipped_arm == "influence"
    assert result.canary_auroc is not None
    assert result.canary_stderr is not None
    assert result.canary_auroc - result.canary_stderr > 0.5
    assert result.canary.startswith("The canary check passed: ")
    assert "canary" not in result.verdict
    assert [arm.arm for arm in result.arms] == ["influence", "supervised", "teacher"]
    assert passed.accuracy() == pytest.approx(passed.arm("influence").accuracy_per_seed[0], abs=1e-9)
    assert passed.json("manifest.json")["shipped_arm"] == passed.json("report.json")["shipped_arm"] == "influence"
    fractions = [event.progress.fraction for event in passed.events if event.progress is not None]
    assert fractions == sorted(fractions)


def test_overrides_are_the_weights_that_are_read(passed: Finished) -> None:
    for number in (1, 2):
        found = {w.id: (w.weight, w.weight_override) for w in passed.job.weights(round=number)}
        assert {row: found[row] for row in OVERRIDES} == {row: (value, value) for row, value in OVERRIDES.items()}
        others = [weight for row, (weight, _) in found.items() if row not in OVERRIDES]
        assert np.mean(others) == pytest.approx(1.0, abs=1e-4)
        assert all(override is None for row, (_, override) in found.items() if row not in OVERRIDES)
