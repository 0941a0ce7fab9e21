"""The influence solvers side by side: what each does to the student, to the wrong rows, and to the clock.

``python -m benchmarks.solvers digits mlp --seeds 3`` prints one JSON line per condition, seed and solver. The variable
``KDAIF_DATA`` names the folder with Fashion-MNIST. One thread, so that seconds compare.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.evaluation import predict
from kdaif.records import PreflightReport
from kdaif.records.architectures import Cnn, Mlp
from kdaif.records.spec import DistillationSpec, Training, Weighting
from kdaif.records.teachers import PlantedNoise, Teacher
from kdaif.rounds import student_of, train_arm
from kdaif.teachers import SoftTargets, soft_targets

SOLVERS: tuple[Literal["cg", "ekfac", "head"], ...] = ("cg", "ekfac", "head")
_CPU = torch.device("cpu")
_NOISES: dict[str, PlantedNoise | None] = {
    "own errors": None,
    "class-swap .4": PlantedNoise(kind="class_swap", share=0.4),
    "symmetric .4": PlantedNoise(kind="symmetric", share=0.4),
}
# Labelled, score, gate and unlabelled rows; the rest is the test.
_SIZES = {"digits": (100, 60, 40, 1000), "fashion": (200, 60, 40, 1500), "fashion-14": (200, 60, 40, 750)}


def main() -> None:
    """One data set and one student; all conditions, seeds and solvers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=_SIZES)
    parser.add_argument("student", choices=("mlp", "cnn"))
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(chosen.seeds):
        data = _rows(chosen.data, seed)
        for condition, noise in _NOISES.items():
            spec = _spec(chosen.student, noise, seed)
            targets = soft_targets(spec, data, _CPU)
            for figures in _arms(spec, data, targets, seed):
                cell = {"data": chosen.data, "student": chosen.student, "condition": condition, "seed": seed}
                print(json.dumps(cell | figures), flush=True)


def _arms(spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int) -> Iterator[dict[str, Any]]:
    yield {"solver": "uniform"} | _run("uniform", spec, data, targets, seed)
    for solver in SOLVERS:
        weighting = spec.weighting.model_copy(update={"solver": solver})
        yield (
            {"solver": solver}
            | _run("influence", spec.model_copy(update={"weighting": weighting}), data, targets, seed)
        )


def _run(
    arm: str, spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int
) -> dict[str, float | list[float]]:
    outcomes = list(train_arm(arm, spec, data, targets, seed=seed, device=_CPU))
    last = outcomes[-1]
    logits = predict(student_of(last.state, spec, data), data.test.features, _CPU)
    figures: dict[str, float | list[float]] = {"accuracy": float((logits.argmax(1) == data.test.labels).mean())}
    if last.weights is None or data.unlabeled.truth is None:
        return figures
    wrong = targets.logits[:].argmax(1) != data.unlabeled.truth
    by_id = dict(zip(data.unlabeled.ids.tolist(), wrong.tolist(), strict=True))
    found = []
    for table in (outcome.weights.table() for outcome in outcomes if outcome.weights is not None):
        influence = table.column("val_loss_change_if_upweighted").to_numpy()
        found.append(float(roc_auc_score([by_id[row] for row in table.column("id").to_pylist()], influence)))
    figures["auroc"] = found
    seconds = {name: sum(o.metrics.get(name, 0.0) for o in outcomes) for name in ("influence_seconds", "train_seconds")}
    figures["overhead"] = seconds["influence_seconds"] / seconds["train_seconds"]
    for name in ("residual", "reliability", "damping", "kept_share", "wrong_row_auroc"):
        figures[name] = [round(o.metrics[name], 4) for o in outcomes if name in o.metrics]
    return figures


def _spec(student: str, noise: PlantedNoise | None, seed: int) -> DistillationSpec:
    return DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        teacher=Teacher(planted_noise=noise),
        student=Mlp() if student == "mlp" else Cnn(),
        training=Training(seed=seed),
        weighting=Weighting(),
        device="cpu",
    )


def _rows(name: str, seed: int) -> DistillationData:
    images, labels = _pictures(name)
    order = np.random.default_rng((seed, 11)).permutation(len(labels))
    labeled, score, gate, unlabeled, test = np.split(order, np.cumsum(_SIZES[name]))

    def part(at: NDArray[np.int64]) -> Rows:
        return Rows(at, images[at], labels[at])

    rows = np.sort(unlabeled)
    return DistillationData(
        class_names=tuple(str(code) for code in range(10)),
        signature=InputSignature("image", images.shape[1:], ("image",)),
        labeled=part(labeled),
        validation=part(score),
        gate=part(gate),
        unlabeled=Rows(rows, images[rows], labels[:0], truth=labels[rows]),
        test=part(test[:2000]),
        report=PreflightReport(),
        test_is_given=True,
    )


def _pictures(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if name == "digits":
        bunch = load_digits()
        return (bunch.images * 255 / 16).astype(np.uint8)[..., None], bunch.target.astype(np.int64)
    with np.load(Path(os.environ["KDAIF_DATA"]) / "fashion_mnist_5k" / "fashion_mnist_5k.npz") as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])[..., None]
        if name == "fashion-14":
            # Halved by means of 2 x 2 pixels, so that the CNN's 36 runs fit two cores.
            images = images.reshape(-1, 14, 2, 14, 2, 1).mean(axis=(2, 4)).astype(np.uint8)
        return images, np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)


if __name__ == "__main__":
    main()
