"""A program: trains a job of many rows, as the training child does, and prints by how many MB its memory grew.

Rows are made in scratch; everything after that is the worker's own. Usage: large_job ROWS FOLDER SLAB_BYTES.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from kdaif_worker.arms import train_all
from kdaif_worker.bundle import Trained, make_bundle
from kdaif_worker.messages import Assignment
from kdaif_worker.resources import Taken
from kdaif_worker.targets import soft_targets

import kdaif.scratch
from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import DistillationSpec, Mlp, PreflightReport, Training, Weighting
from kdaif.records.teachers import PlantedNoise, Teacher, TrainedTeacher
from kdaif.scratch import Scratch
from kdaif.store import BlobStore

WIDTH, CLASSES = 64, 4
CPU = torch.device("cpu")

SPEC = DistillationSpec(
    labeled="a" * 32,
    unlabeled="b" * 32,
    teacher=Teacher(
        source=TrainedTeacher(architecture=Mlp(hidden_sizes=(64,)), epochs=5),
        planted_noise=PlantedNoise(kind="symmetric", share=0.2),
    ),
    student=Mlp(hidden_sizes=(32,)),
    training=Training(rounds=2, epochs_per_round=1, batch_size=4096, seeds=1),
    weighting=Weighting(rounds_per_scoring=1, scout_epochs=1),
    control_arms=("uniform",),
)


def memory_mb(which: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def rows(n_rows: int, seed: int, scratch: Scratch, *, labelled: bool = True) -> Rows:
    generator = np.random.default_rng((seed, 1))
    centres = np.random.default_rng(0).normal(size=(CLASSES, WIDTH)).astype(np.float32) / 3
    features = scratch.empty((n_rows, WIDTH), np.float32)
    truth = scratch.empty((n_rows,), np.int64)
    for some in scratch.slabs(n_rows, 4 * 4 * WIDTH):
        truth[some] = generator.integers(0, CLASSES, some.stop - some.start)
        features[some] = centres[truth[some]] + generator.standard_normal((some.stop - some.start, WIDTH), np.float32)
    ids = scratch.empty((n_rows,), np.int64)
    ids[:] = generator.permutation(n_rows)
    return Rows(ids, features, truth if labelled else truth[:0], truth=None if labelled else truth)


def data(n_rows: int, scratch: Scratch) -> DistillationData:
    return DistillationData(
        class_names=("a", "b", "c", "d"),
        signature=InputSignature("numeric", (WIDTH,), ("features",)),
        labeled=rows(2000, 1, scratch),
        validation=rows(1000, 2, scratch),
        gate=rows(300, 3, scratch),
        unlabeled=rows(n_rows, 4, scratch, labelled=False),
        test=rows(1000, 5, scratch),
        report=PreflightReport(),
        test_is_given=True,
    )


def main() -> None:
    n_rows, folder, kdaif.scratch.SLAB_BYTES = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    given = Assignment("default", "j1", 1, "", SPEC, f"file://{folder / 'blobs'}", folder, 1)
    blobs = BlobStore.open(given.blob_url)
    # Once with few rows, so that what libraries load at their first use is there before the measurement.
    small = data(3000, Scratch(folder))
    warm_up = Assignment("default", "j0", 1, "", SPEC, given.blob_url, folder, 1)
    attempt(warm_up, small, Scratch(folder), blobs, folder / "small")
    scratch = Scratch(folder / "scratch", most_in_memory_bytes=2**20)
    large = data(n_rows, scratch)
    scratch.release()
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark counts from here
    attempt(given, large, scratch, blobs, folder / "large")
    sys.stdout.write(json.dumps({"before_mb": before, "grown_mb": memory_mb("VmHWM") - before}))


def attempt(given: Assignment, known: DistillationData, scratch: Scratch, blobs: BlobStore, bundle: Path) -> None:
    def told(where: str) -> None:
        now = {which: round(memory_mb(which)) for which in ("VmRSS", "VmHWM", "RssAnon", "RssFile")}
        sys.stderr.write(f"{where} {now}\n")

    bundle.mkdir()
    targets, cost = soft_targets(given, known, CPU, blobs, scratch=scratch)
    told("targets")
    point = train_all(
        given,
        known,
        targets,
        CPU,
        blobs,
        lambda message: told(f"{message.progress.arm} {message.progress.round}"),
        scratch=scratch,
    )
    make_bundle(bundle, Trained(given, known, targets, cost, point, {}, {}, scratch, resources=Taken({}, ())), blobs)
    told("bundle")


if __name__ == "__main__":
    main()
