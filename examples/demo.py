"""The main job on real data, the whole way: SDK, gRPC, blob store, queue, worker, training, ONNX, SDK.

100 labelled scans of handwritten digits, 1,000 unlabelled ones, and a teacher that is wrong about many of them, a share
of its pseudo-labels being corrupted on purpose. Run it by ``make demo``.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from kdaif_client import Client, Job, JobResult, Mlp, PlantedNoise, SampleWeight, Student, TrainedTeacher, Training
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from benchmarks.record import write_results
from examples.local_stack import local_stack

OUTPUT = Path("demo-output")
SWAPPED_SHARE = 0.4
PARTS = {"labelled": 100, "validation": 100, "pool": 1000, "test": 597}
ARMS = ("supervised", "uniform", "influence", "oracle", "teacher")
console = Console(soft_wrap=True, highlight=False)


def main() -> None:
    """Entry point."""
    started, started_at = time.monotonic(), datetime.now(UTC)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    parts = digits()
    console.print(
        f"[bold]kdaif demo[/bold]: {PARTS['labelled']} labelled digits, {PARTS['validation']} for validation, "
        f"{PARTS['pool']:,} unlabelled, {PARTS['test']} for the test.\n"
        f"The teacher learns from the labelled ones. Then, on purpose, [bold]{SWAPPED_SHARE:.0%}[/bold] of its "
        "pseudo-labels are corrupted by a class swap (digit c trades places with c + 1).\n"
        "Starting Valkey, the gRPC server and a worker on this machine ..."
    )
    with local_stack(OUTPUT / "stack") as target, Client(target) as kdaif:
        job = run_job(kdaif, parts)
        student = job.download_student(OUTPUT / "student")
        result = job.result
        harmful = list(job.weights(order_by="val_loss_change_if_upweighted desc", limit=10))
    show_arms(result)
    show_harmful(harmful)
    check(student, parts["test"], result)
    figures = figures_of(result, time.monotonic() - started)
    file = write_results("demo", figures, [asdict(arm) for arm in result.arms], started_at)
    console.print(
        f"\n[bold]{result.verdict}[/bold]\n"
        f"Uniform to oracle: {100 * (figures['acc_oracle'] - figures['acc_uniform']):.1f} points, of which "
        f"the weights recover {100 * (figures['acc_influence'] - figures['acc_uniform']):.1f}.\n\n"
        f"ONNX bundle, verified   {OUTPUT / 'student'}\n"
        f"Report                  {OUTPUT / 'student' / 'report.html'}\n"
        f"Figures                 {file}\n"
        f"{figures['seconds']:.0f} s in all. Nothing is left running."
    )


def digits() -> dict[str, dict[str, Any]]:
    """scikit-learn's digits (real scans, 8 x 8) cut into parts, as columns."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    images = (bunch.images[order] * 255 / 16).astype(np.uint8)
    labels = bunch.target[order]
    parts, start = {}, 0
    for part, size in PARTS.items():
        rows = slice(start, start + size)
        # `truth` never trains: it serves the oracle arm and the report's count of wrong pseudo-labels.
        parts[part] = {"image": images[rows], "truth" if part == "pool" else "label": labels[rows]}
        start += size
    return parts


def run_job(kdaif: Client, parts: dict[str, dict[str, Any]]) -> Job:
    """Uploads, submits, and follows the rounds."""
    datasets = {part: kdaif.upload_dataset(columns, name=part) for part, columns in parts.items()}
    job = kdaif.submit(
        labeled=datasets["labelled"],
        validation=datasets["validation"],
        unlabeled=datasets["pool"],
        test=datasets["test"],
        teacher=TrainedTeacher(Mlp(hidden_sizes=(256, 128)), planted_noise=PlantedNoise("class_swap", SWAPPED_SHARE)),
        student=Mlp(hidden_sizes=(64,)),
        training=Training(seeds=3),
        display_name="demo",
    )
    console.print(f"Submitted {job.name}")
    job.wait(progress=True)
    return job


def show_arms(result: JobResult) -> None:
    """The arms side by side."""
    table = Table(
        title=f"Test accuracy on {PARTS['test']} digits, mean of 3 seeds (teacher: before the corruption)",
        title_justify="left",
    )
    for heading in ("arm", "accuracy", "macro F1", "vs uniform", "paired p", "KB", "ms/row"):
        table.add_column(heading, justify="left" if heading == "arm" else "right", no_wrap=True)
    arms = {arm.arm: arm for arm in result.arms}
    for name in ARMS:
        arm = arms[name]
        points = arm.accuracy_minus_uniform
        table.add_row(
            name,
            f"{100 * arm.accuracy:.1f} %",
            f"{arm.macro_f1:.3f}",
            "" if points is None else f"{100 * points:+.1f} pt",
            "" if arm.p_value is None else f"{arm.p_value:.4f}",
            "" if arm.size_kb is None else f"{arm.size_kb:.0f}",
            "" if arm.ms_per_row is None else f"{arm.ms_per_row:.3f}",
            style="bold" if name == "influence" else "",
        )
    console.print(table)


def show_harmful(harmful: list[SampleWeight]) -> None:
    """The samples whose weight, if raised, would raise the validation loss most."""
    table = Table(
        title="The ten most harmful samples, by change of validation loss per unit of weight", title_justify="left"
    )
    for heading in ("sample", "pseudo-label", "truth", "student says", "influence ×10³", "weight"):
        table.add_column(heading, justify="left" if heading == "sample" else "right")
    for sample in harmful:
        wrong = sample.pseudo_label != sample.truth
        table.add_row(
            sample.id,
            f"[red]{sample.pseudo_label}[/red]" if wrong else sample.pseudo_label,
            sample.truth,
            sample.student_label,
            f"{1000 * sample.val_loss_change_if_upweighted:+.2f} ± {1000 * sample.stderr:.2f}",
            f"{sample.weight:.2f}",
        )
    console.print(table)


def check(student: Student, test: dict[str, Any], result: JobResult) -> None:
    """The downloaded file, on plain onnxruntime, is as good as the report says of its seed."""
    accuracy = float(np.mean(np.asarray(student.predict(test["image"])) == test["label"].astype(str)))
    reported = next(arm for arm in result.arms if arm.arm == result.shipped_arm).accuracy_per_seed[0]
    if abs(accuracy - reported) > 0.5 / len(test["label"]):
        sys.exit(f"The downloaded student reaches {accuracy:.4f} on the test rows, the report says {reported:.4f}.")


def figures_of(result: JobResult, seconds: float) -> dict[str, float]:
    """The figures that this run vouches for."""
    certificate = json.loads((OUTPUT / "student" / "certificate.json").read_text())
    parity = max(entry["max_abs_difference"] for entry in certificate["parity"])
    accuracies = {f"acc_{arm.arm}": arm.accuracy for arm in result.arms}
    return accuracies | {"seconds": seconds, "parity_max_abs": parity}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        console.print("\nStopped. Nothing is left running; `make demo` starts afresh.")
        sys.exit(130)
