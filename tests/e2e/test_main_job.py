import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from kdaif_client import (
    Client,
    Job,
    JobEvent,
    JobState,
    Mlp,
    PlantedNoise,
    SampleWeight,
    Student,
    TrainedTeacher,
    Training,
    verify,
)
from kdaif_client.errors import AlreadyExists, CorruptDownload, FailedPrecondition, InvalidArgument, NotFound

from tests.e2e.conftest import Stack
from tests.e2e.digits import Digits, upload_digits

TRAINING = Training(rounds=6, epochs_per_round=4, seeds=1)
TEACHER = TrainedTeacher(Mlp((256, 128)), epochs=40, planted_noise=PlantedNoise("class_swap", 0.4))


@dataclass(frozen=True)
class Finished:
    """One job, run once for all tests of this module."""

    digits: Digits
    job: Job
    events: list[JobEvent]
    student: Student
    folder: Path


@pytest.fixture(scope="module")
def finished(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with Client(stack.target) as client:
        digits = upload_digits(client)
        job = client.submit(
            **digits.roles(),
            teacher=TEACHER,
            student=Mlp(hidden_sizes=(64,)),
            training=TRAINING,
            request_id="main-job",
            display_name="main job",
        )
        events = list(job.watch())
        job.wait(timeout_s=60)
        folder = tmp_path_factory.mktemp("student") / "bundle"
        student = job.download_student(folder)
        yield Finished(digits, job, events, student, folder)


def test_the_job_ends_with_a_student_on_its_first_attempt(finished: Finished) -> None:
    assert finished.job.state is JobState.SUCCEEDED
    assert finished.job.info.attempt == 1


def test_events_count_without_gaps_and_tell_the_whole_story(finished: Finished) -> None:
    assert [event.sequence for event in finished.events] == list(range(1, len(finished.events) + 1))
    kinds = [event.kind for event in finished.events]
    assert kinds[:2] == ["queued", "claimed"]
    assert kinds[-1] == "finished"
    assert kinds.count("round") == 4 * 6  # four arms of six rounds
    fractions = [event.progress.fraction for event in finished.events if event.progress is not None]
    assert fractions == sorted(fractions)


def test_every_arm_is_measured_against_uniform(finished: Finished) -> None:
    arms = {arm.arm: arm for arm in finished.job.result.arms}
    assert set(arms) == {"influence", "uniform", "supervised", "oracle", "teacher"}
    assert arms["uniform"].p_value is None
    for name in ("influence", "supervised", "oracle", "teacher"):
        arm = arms[name]
        assert arm.p_value is not None
        assert arm.accuracy_minus_uniform == pytest.approx(arm.accuracy - arms["uniform"].accuracy, abs=1e-9)
    # A class swap on 40 % of the rows costs uniform distillation a lot, and the oracle nothing.
    assert arms["oracle"].accuracy > arms["uniform"].accuracy


def test_the_student_is_signed_by_the_server_and_by_nobody_else(
    finished: Finished, stack: Stack, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "kdaif_server", "public-key", "--data-dir"]
    ours, others = (tmp_path / name for name in ("ours.pem", "others.pem"))
    for file, data_dir in ((ours, stack.data_dir), (others, tmp_path / "other")):
        file.write_text(subprocess.run([*command, str(data_dir)], capture_output=True, text=True, check=True).stdout)
    with Client(stack.target, public_key=ours) as client:
        folder = client.get_job(finished.job.name).download_bundle(tmp_path / "student")
    assert verify(folder, public_key=ours)["class_names"]
    with pytest.raises(CorruptDownload, match="not signed by"):
        verify(folder, public_key=others)
    with Client(stack.target, public_key=others) as client, pytest.raises(CorruptDownload, match="not signed by"):
        client.get_job(finished.job.name).download_bundle(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_the_downloaded_student_is_as_good_as_the_report_says(finished: Finished) -> None:
    predicted = np.asarray(finished.student.predict(finished.digits.test_images))
    accuracy = float(np.mean(predicted == finished.digits.test_labels.astype(str)))
    reported = next(
        arm for arm in finished.job.result.arms if arm.arm == finished.job.result.shipped_arm
    ).accuracy_per_seed[0]
    assert accuracy == pytest.approx(reported, abs=0.5 / len(predicted))


def test_e1_the_certificate_holds_at_batch_1_2_3_and_64(finished: Finished) -> None:
    certificate = json.loads((finished.folder / "certificate.json").read_text())
    assert [entry["batch"] for entry in certificate["parity"]] == [1, 2, 3, 64]
    assert all(entry["passed"] for entry in certificate["parity"])
    assert all(entry["max_abs_probability_difference"] < 1e-4 for entry in certificate["parity"])
    rows = finished.digits.test_images[:64]
    whole = finished.student.predict_proba(rows)
    for batch in (1, 2, 3, 64):
        cut = np.concatenate([finished.student.predict_proba(rows[i : i + batch]) for i in range(0, 64, batch)])
        np.testing.assert_allclose(cut, whole, atol=1e-5)


def test_probabilities_are_calibrated_and_the_manifest_says_how(finished: Finished) -> None:
    report = json.loads((finished.folder / "report.json").read_text())
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert manifest["temperature"] == report["calibration"]["temperature"]
    assert report["calibration"]["gate_rows"] == report["dataset"]["gate rows"]
    confidence = finished.student.predict_proba(finished.digits.test_images).max(axis=1).mean()
    predicted = np.asarray(finished.student.predict(finished.digits.test_images))
    accuracy = float(np.mean(predicted == finished.digits.test_labels.astype(str)))
    # The gap of the means over all rows is at most the mean of the gaps.
    assert abs(confidence - accuracy) <= report["calibration"]["ece_after"] + 1e-6
    by_arm = {arm.arm: arm for arm in finished.job.result.arms}
    assert by_arm["influence"].ece == pytest.approx(report["calibration"]["ece_before"])
    assert all(arm.ece is not None and 0 < arm.ece < 1 for arm in by_arm.values())


def test_weights_are_readable_ordered_and_have_mean_one(finished: Finished) -> None:
    table = finished.job.weights_table()
    assert table.num_rows == 400
    assert np.mean(table.column("weight").to_numpy()) == pytest.approx(1.0, abs=1e-4)
    harmful = list(finished.job.weights(order_by="val_loss_change_if_upweighted desc", limit=10))
    influence = [weight.val_loss_change_if_upweighted for weight in harmful]
    assert len(harmful) == 10
    assert influence == sorted(influence, reverse=True)
    assert influence[0] == pytest.approx(max(table.column("val_loss_change_if_upweighted").to_pylist()))


def test_wrong_pseudo_labels_weigh_less(finished: Finished) -> None:
    weights: list[SampleWeight] = list(finished.job.weights())
    wrong = [weight.weight for weight in weights if weight.pseudo_label != weight.truth]
    right = [weight.weight for weight in weights if weight.pseudo_label == weight.truth]
    assert len(wrong) > 100
    assert np.mean(wrong) < np.mean(right)


def test_weights_are_filtered_streamed_and_summarised(finished: Finished) -> None:
    job = finished.job
    everything = list(job.weights())
    low = [w.id for w in everything if w.weight < 0.5 and w.pseudo_label != w.truth]
    label = everything[0].pseudo_label
    assert [w.id for w in job.weights(filter=f"weight < 0.5 AND pseudo_label = '{label}'")] == [
        w.id for w in everything if w.weight < 0.5 and w.pseudo_label == label
    ]
    assert 0 < len(low) < len(everything)
    assert job.weights_table(filter="weight < -1").num_rows == 0
    with pytest.raises(InvalidArgument, match="names 'colour', which is no column"):
        list(job.weights(filter="colour = 'red'"))

    summary = job.summarize_weights()
    assert summary.rows == 400
    assert summary.columns["weight"].mean == pytest.approx(1.0, abs=1e-4)
    assert sum(each.rows for each in summary.classes) == 400
    assert sum(summary.columns["log_odds"].counts) == 400


def test_history_follows_a_sample_over_the_rounds(finished: Finished) -> None:
    history = finished.job.weight_history(["u-00007", "u-00001"])
    assert list(history) == ["u-00007", "u-00001"]
    rounds = [weight.round for weight in history["u-00007"]]
    assert rounds == sorted(set(rounds))
    assert len(rounds) > 1
    explanation = finished.job.explain("u-00007")
    assert explanation.history == tuple(history["u-00007"])
    assert "u-00007 weighs" in str(explanation)
    assert history["u-00007"][-1] == next(finished.job.weights(ids=["u-00007"]))


def test_decisions_are_checked_and_kept_with_who_and_why(finished: Finished) -> None:
    job = finished.job
    first = job.override(ban=["u-00001"], pin={"u-00002": 2.0}, author="Ada", reason="seen by hand")
    second = job.override(relabel={"u-00001": "3"}, clear=["u-00002"], author="Bo", reason="a second look")
    assert [each.revision for each in job.override_revisions()] == [first.revision, second.revision]
    assert job.override_revisions()[1] == second
    assert (second.author, second.reason) == ("Bo", "a second look")
    assert [(each.id, each.decision, each.class_name) for each in second.overrides] == [
        ("u-00001", "relabel", "3"),
        ("u-00002", "clear", None),
    ]
    for wrong, why in (
        ({"ban": ["nobody"]}, "not in this job: nobody"),
        ({"relabel": {"u-00001": "cat"}}, "no class of this job"),
        ({"pin": {"u-00001": -1.0}}, "give a number from 0"),
        ({"ban": []}, "holds 0"),
    ):
        with pytest.raises((InvalidArgument, NotFound), match=why):
            job.override(author="Ada", reason="test", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="reason"):
        job.override(ban=["u-00001"], author="Ada", reason=" ")
    assert len(job.override_revisions()) == 2


def test_weights_of_named_samples_and_of_earlier_rounds(finished: Finished) -> None:
    ids = ["u-00007", "u-00001"]
    assert [weight.id for weight in finished.job.weights(ids=ids)] == ids
    rounds = {weight.round for weight in finished.job.weights(round=2, limit=1)}
    assert rounds == {2}
    with pytest.raises(NotFound, match="nobody"):
        list(finished.job.weights(ids=["nobody"]))
    with pytest.raises(InvalidArgument, match="order_by"):
        list(finished.job.weights(order_by="password"))


def test_q7_the_same_request_is_the_same_job_and_a_changed_one_is_refused(finished: Finished, client: Client) -> None:
    same = {
        **finished.digits.roles(),
        "teacher": TEACHER,
        "training": TRAINING,
        "request_id": "main-job",
        "display_name": "main job",
    }
    again = client.submit(**same, student=Mlp(hidden_sizes=(64,)))
    assert again.name == finished.job.name
    with pytest.raises(AlreadyExists):
        client.submit(**same, student=Mlp(hidden_sizes=(65,)))


def test_the_student_and_the_data_sets_are_listed(finished: Finished, client: Client) -> None:
    assert finished.job.result.student in {student.name for student in client.list_students()}
    assert finished.digits.labeled.name in {dataset.name for dataset in client.list_datasets()}
    again = client.upload_dataset(finished.digits.test_images, name="other name", y=finished.digits.test_labels)
    assert client.get_dataset(again.name).row_count == 300


def test_the_report_tells_the_arms_and_loads_nothing(finished: Finished) -> None:
    page = (finished.folder / "report.html").read_text()
    assert "influence" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["verdict"] == finished.job.result.verdict


def test_a_job_without_a_student_says_so(finished: Finished, client: Client) -> None:
    with pytest.raises(FailedPrecondition):
        finished.job.cancel()
    with pytest.raises(FailedPrecondition):
        finished.job.retry()
    with pytest.raises(NotFound):
        client.get_job("tenants/default/distillationJobs/nothere")
