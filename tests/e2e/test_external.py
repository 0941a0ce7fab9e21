import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import Client, JobResult, Mlp, PlantedNoise, TrainedTeacher, Training
from sklearn.datasets import load_digits

from tests.e2e.conftest import Stack
from tests.e2e.digits import images_table, upload_digits


@dataclass(frozen=True)
class Finished:
    """A job with external rows, its bundle, and the rows."""

    result: JobResult
    codes: set[str]
    folder: Path
    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def finished(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))[900:1300]
    # A darker scanner: the same digits at half the ink.
    images = (bunch.images[order] * 255 / 32).astype(np.uint8)[..., None]
    labels = bunch.target[order].astype(np.int64)
    with Client(stack.target) as client:
        digits = upload_digits(client, pool=300)
        twin = np.concatenate([digits.test_images[:1], images])
        external = client.upload_dataset(
            images_table("e", twin, label=np.concatenate([digits.test_labels[:1], labels])), name="external"
        )
        job = client.submit(
            **digits.roles(),
            external=external,
            teacher=TrainedTeacher(Mlp((256, 128)), epochs=30, planted_noise=PlantedNoise("class_swap", 0.4)),
            student=Mlp(hidden_sizes=(32,)),
            training=Training(rounds=2, epochs_per_round=4, seeds=2),
        )
        job.wait(timeout_s=120)
        folder = tmp_path_factory.mktemp("student") / "bundle"
        student = job.download_student(folder)
        predicted = np.asarray(student.predict(images))
        influence = next(arm for arm in job.result.external_arms if arm.arm == "influence")
        assert influence.accuracy_per_seed[0] == pytest.approx(
            float(np.mean(predicted == labels.astype(str))), abs=0.5 / len(labels)
        )
        assert job.info.spec.external == external.name
        return Finished(job.result, {finding.code for finding in job.info.preflight}, folder, images, labels)


def test_the_arms_and_the_verdict_are_repeated_on_the_external_rows(finished: Finished) -> None:
    result = finished.result
    assert [arm.arm for arm in result.external_arms] == [arm.arm for arm in result.arms]
    assert result.external_verdict.startswith("On the external set: ")
    assert all(len(arm.accuracy_per_seed) == 2 for arm in result.external_arms if arm.arm != "teacher")
    assert "EXTERNAL_ROW_IN_TEST" in finished.codes


def test_the_report_holds_them_and_tells_the_shift(finished: Finished) -> None:
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["external"]["verdict"] == finished.result.external_verdict
    assert report["dataset"]["external rows"] == len(finished.labels)
    shifts = {(item["first"], item["second"]): item for item in report["shifts"]}
    assert len(shifts) == 6
    assert shifts["unlabelled", "external"]["features"] > 3 * shifts["labelled", "validation"]["features"]
    page = (finished.folder / "report.html").read_text()
    assert "The same on the external set" in page
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert set(manifest["datasets"]) == {"labeled", "unlabeled", "validation", "test", "external"}
