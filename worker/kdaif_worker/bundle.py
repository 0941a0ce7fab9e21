"""From trained arms to the bundle: ONNX, certificate, report, manifest; then into the blob store."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import torch

from kdaif.datasets import DistillationData, InputSignature
from kdaif.evaluation import calibrate, compare_arms, external_verdict, per_class_accuracy, predict, verdict
from kdaif.evaluation.scorecard import EQUAL_SHARES, scorecard
from kdaif.export import Certificate, write_manifest, write_tokenizer
from kdaif.records import ArmResult, AttemptManifest, JobResult, StoredFile
from kdaif.records.monitoring import Scorecard
from kdaif.report import ClassRow, Report, Weighed, weighed, write_report
from kdaif.rounds import student_of
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, layout
from kdaif.teachers import SoftTargets
from kdaif_worker.arms import accuracies_of_groups
from kdaif_worker.canary import shipped_arm, told
from kdaif_worker.checkpoint import Checkpoint
from kdaif_worker.external import external_results, shifts
from kdaif_worker.messages import Assignment
from kdaif_worker.predictions import publish_predictions
from kdaif_worker.resources import Taken
from kdaif_worker.row_places import places_of
from kdaif_worker.student_file import oldest_runtimes, trained_ranges, write_student
from kdaif_worker.targets import TeacherCost

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Trained:
    """All that a bundle is made from. ``dataset_sha256`` is by role, ``stage_seconds`` by stage.

    What is large lies in ``scratch``; ``resources`` are what this attempt took so far.
    """

    assignment: Assignment
    data: DistillationData
    targets: SoftTargets
    teacher_cost: TeacherCost | None
    point: Checkpoint
    dataset_sha256: Mapping[str, str]
    stage_seconds: Mapping[str, float]
    scratch: Scratch
    resources: Taken

    @property
    def shipped_arm(self) -> str:
        """The arm whose student is in the bundle."""
        return shipped_arm(self.assignment.spec, self.point.canary)

    @property
    def arms(self) -> tuple[str, ...]:
        """The trained arms, the primary one first."""
        return tuple(dict.fromkeys(arm for arm, _ in self.point.finished))


def make_bundle(folder: Path, trained: Trained, blobs: BlobStore) -> JobResult:
    """Writes the bundle into an empty folder. Raises TrainingError when the ONNX file is not what was trained."""
    assignment, data, state = trained.assignment, trained.data, trained.point.student
    if state is None:
        raise AssertionError("every arm is finished, so there is a student")
    student = student_of(state, assignment.spec, data)
    calibration = calibrate(
        predict(student, data.gate.features, _CPU),
        data.gate.labels,
        predict(student, data.test.features, _CPU),
        data.test.labels,
    )
    export = assignment.spec.export
    certificate = write_student(folder, student, data, export, calibration.temperature, trained.scratch)
    results = _results(trained, certificate)
    external = external_results(trained.point, data, trained.targets, assignment.spec.training.seed)
    check = trained.point.canary
    canary = told(check, data)
    result = JobResult(
        attempt=assignment.attempt,
        arms=results,
        # A student that is not the one asked for is the first thing to say.
        verdict=f"{canary} {verdict(results)}" if check is not None and check.failed else verdict(results),
        seconds=sum(trained.stage_seconds.values()),
        external_arms=external,
        external_verdict=external_verdict(external) if external else "",
        shipped_arm=trained.shipped_arm,
        canary=canary,
        alarms=trained.point.alarms,
        groups=accuracies_of_groups(assignment.spec, data, trained.point),
        group_weights=trained.point.groups,
        canary_auroc=None if check is None else check.auroc,
        canary_stderr=None if check is None else check.stderr,
    )
    result = replace(result, scorecard=_scorecard(trained, result))
    write_report(folder, replace(_report(trained, result, certificate, blobs), calibration=calibration))
    write_tokenizer(folder, data.signature)
    write_manifest(
        folder,
        job=f"tenants/{assignment.tenant}/distillationJobs/{assignment.job_id}",
        attempt=assignment.attempt,
        class_names=data.class_names,
        signature=data.signature,
        n_features=student.head.in_features,
        dataset_sha256=trained.dataset_sha256,
        created={"time": datetime.now(UTC).isoformat(timespec="seconds"), "kdaif": version("kdaif")},
        temperature=calibration.temperature,
        shipped_arm=trained.shipped_arm,
        scaled=assignment.spec.inputs.image_height is not None,
        value_ranges=trained_ranges(data, trained.scratch),
        oldest_onnxruntime=oldest_runtimes(certificate),
        versions={"kdaif": version("kdaif"), **certificate.versions},
    )
    return result


def publish_bundle(folder: Path, trained: Trained, blobs: BlobStore) -> None:
    """Uploads every file, and then the attempt's manifest, without which nobody looks at them."""
    assignment = trained.assignment
    job = (assignment.tenant, assignment.job_id, assignment.attempt)
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    files = [StoredFile(name, entry["sha256"], entry["size_bytes"]) for name, entry in listed.items()]
    own = (folder / "manifest.json").read_bytes()
    files.append(StoredFile("manifest.json", hashlib.sha256(own).hexdigest(), len(own)))
    for file in files:
        blobs.put_file(layout.bundle_file(*job, file.path), folder / file.path)
    shipped = trained.point.finished[trained.shipped_arm, assignment.spec.training.seed]
    publish_predictions(assignment, trained.data.test, shipped.test_logits, trained.data.class_names, blobs)
    manifest = AttemptManifest(
        job=assignment.job_id,
        attempt=assignment.attempt,
        class_names=trained.data.class_names,
        bundle=tuple(files),
        weights=trained.point.shards,
        created_at_ms=int(time.time() * 1000),
        evidence=trained.point.evidence,
    )
    blobs.put_bytes(layout.attempt_manifest(*job), manifest.to_json())


def _results(trained: Trained, certificate: Certificate) -> tuple[ArmResult, ...]:
    finished, test = trained.point.finished, trained.data.test
    logits = {arm: [done.test_logits for (name, _), done in finished.items() if name == arm] for arm in trained.arms}
    by_arm = {**logits, "teacher": [] if trained.targets.test_logits is None else [trained.targets.test_logits]}
    results = compare_arms(test.labels, by_arm, trained.data.class_names, seed=trained.assignment.spec.training.seed)
    size_kb = certificate.size_bytes / 1000
    cost = trained.teacher_cost
    # The arms' students are one architecture: same file size, same time per row.
    return tuple(
        replace(result, size_kb=size_kb, ms_per_row=certificate.onnx_ms_per_row)
        if result.arm != "teacher"
        else result
        if cost is None
        else replace(result, size_kb=cost.size_kb, ms_per_row=cost.ms_per_row)
        for result in results
    )


def _scorecard(trained: Trained, result: JobResult) -> Scorecard:
    spec, point = trained.assignment.spec, trained.point
    arm = next(arm for arm in result.arms if arm.arm == result.shipped_arm)
    curve = point.finished[trained.arms[0], spec.training.seed].curve
    figures = {
        "size_kb": arm.size_kb,
        "ms_per_row": arm.ms_per_row,
        "macro_f1": arm.macro_f1,
        "ece": arm.ece,
        "accuracy_minus_uniform": arm.accuracy_minus_uniform,
        "reliability": _last(curve, "reliability"),
        "stability": _last(curve, "stability"),
        "canary_auroc": result.canary_auroc,
        **trained.resources.figures,
    }
    monitoring = spec.monitoring
    return scorecard(
        figures,
        result.groups,
        fewest_group_rows=monitoring.fewest_group_rows,
        shares=monitoring.scorecard_shares.given() or EQUAL_SHARES,
        notes=trained.resources.notes,
    )


def _last(curve: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The figure of the last round that has it."""
    return next((metrics[name] for metrics in reversed(curve) if name in metrics), None)


def _report(trained: Trained, result: JobResult, certificate: Certificate, blobs: BlobStore) -> Report:
    assignment, data, point = trained.assignment, trained.data, trained.point
    spec = assignment.spec
    curves = {arm: _curve(point.finished[arm, spec.training.seed].curve) for arm in trained.arms}
    shards = point.shards
    weights = _weighed(blobs, shards[-1].path, trained.scratch) if shards else None
    harmful = [] if weights is None else [row["id"] for row in weights.harmful]
    shown = places_of(data.unlabeled.ids, harmful, trained.scratch)
    is_image = data.signature.kind == "image"
    features = data.unlabeled.features
    return Report(
        title=assignment.display_name or f"job {assignment.job_id}",
        job=f"tenants/{assignment.tenant}/distillationJobs/{assignment.job_id}",
        verdict=result.verdict,
        arms=result.arms,
        external_arms=result.external_arms,
        external_verdict=result.external_verdict,
        shipped_arm=result.shipped_arm,
        canary=result.canary,
        canary_auroc=result.canary_auroc,
        canary_stderr=result.canary_stderr,
        alarms=result.alarms,
        groups=result.groups,
        group_weights=result.group_weights,
        scorecard=result.scorecard,
        shifts=shifts(data, trained.targets, trained.scratch),
        dataset={
            "classes": len(data.class_names),
            "labelled rows": len(data.labeled),
            "validation rows": len(data.validation),
            "gate rows": len(data.gate),
            "unlabelled rows": len(data.unlabeled),
            "test rows": len(data.test),
            **({} if data.external is None else {"external rows": len(data.external)}),
            **_out_of_fold(trained),
        },
        spec=spec.model_dump(mode="json"),
        findings=(*data.report.findings, *trained.targets.findings),
        influence_rounds=curves.get("influence", ()),
        uniform_rounds=curves.get("uniform", ()),
        weights=weights,
        images={row_id: features[place] for row_id, place in shown.items()} if is_image else {},
        features={} if is_image else {row_id: shown_values(data, place) for row_id, place in shown.items()},
        classes=_classes(trained),
        certificate=certificate.to_json(),
        seconds=trained.stage_seconds,
        influence_overhead=_overhead(curves.get("influence", ())),
    )


def _weighed(blobs: BlobStore, path: str, scratch: Scratch) -> Weighed | None:
    """Of the shard there, row group by row group."""
    with scratch.spooled() as file:
        for chunk in blobs.iter_range(path):
            file.write(chunk)
        file.seek(0)
        with pq.ParquetFile(file) as parquet:
            groups = (parquet.read_row_group(group) for group in range(parquet.num_row_groups))
            return weighed(groups, parquet.metadata.num_rows)


def _out_of_fold(trained: Trained) -> dict[str, str]:
    """How often a teacher with folds is right on labelled rows that it was not trained on."""
    said = trained.targets.labeled_logits
    if said is None:
        return {}
    right = float((said.argmax(axis=1) == trained.data.labeled.labels).mean())
    return {"teacher on labelled rows, out of fold": f"{right:.1%} right"}


def _classes(trained: Trained) -> list[ClassRow]:
    data, finished = trained.data, trained.point.finished
    by_arm = {
        arm: per_class_accuracy(
            data.test.labels,
            [done.test_logits for (name, _), done in finished.items() if name == arm],
            data.class_names,
        )
        for arm in trained.arms
    }
    of_shipped = by_arm[trained.shipped_arm]
    return [
        ClassRow(
            name=name,
            labelled=int((data.labeled.labels == code).sum()),
            tested=shipped.rows,
            accuracy={arm: classes[code].accuracy for arm, classes in by_arm.items()},
            interval=None if shipped.low is None or shipped.high is None else (shipped.low, shipped.high),
        )
        for code, (name, shipped) in enumerate(zip(data.class_names, of_shipped, strict=True))
    ]


def _curve(curve: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{**metrics, "round": number} for number, metrics in enumerate(curve, start=1)]


def shown_values(data: DistillationData, place: int) -> dict[str, float | str]:
    """One unlabelled row, no image, as a person reads it: its text, or its numbers and the names of its categories."""
    signature, rows = data.signature, data.unlabeled
    if signature.kind == "text":
        return {} if rows.texts is None else {signature.columns[0]: str(rows.texts[place])}
    names, values = _input_names(signature), rows.features[place].tolist()
    categories = signature.categories or ((),) * len(names)
    return {name: _value(value, known) for name, value, known in zip(names, values, categories, strict=True)}


def _value(value: float, categories: tuple[str, ...]) -> float | str:
    if categories:
        return categories[int(value) - 1] if value > 0 else "unknown or none"
    return "none" if math.isnan(value) else value


def _input_names(signature: InputSignature) -> tuple[str, ...]:
    """One name per input; a list column gives ``features[0]``, ``features[1]``, ..."""
    if len(signature.columns) == 1 and signature.shape[0] > 1:
        return tuple(f"{signature.columns[0]}[{place}]" for place in range(signature.shape[0]))
    return signature.columns


def _overhead(curve: Sequence[Mapping[str, float]]) -> float | None:
    training = sum(metrics.get("train_seconds", 0.0) for metrics in curve)
    return sum(metrics.get("influence_seconds", 0.0) for metrics in curve) / training if training else None
