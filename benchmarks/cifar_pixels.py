"""``python -m benchmarks.cifar_pixels``: CIFAR-10 on the pixels, 4,000 labels, people's worst labels as the teacher.

Meant for a GPU: 44,000 unlabelled pictures through a CNN. ``--cut`` takes a hundredth of it for two
epochs, to see that it runs.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quality.measures import of_predictions
from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.quality.sets.folder import table
from benchmarks.record import write_results
from kdaif.datasets import DistillationData
from kdaif.evaluation import predict
from kdaif.records.architectures import Cnn
from kdaif.records.spec import DistillationSpec, Training
from kdaif.records.teachers import ColumnTeacher, Teacher
from kdaif.rounds import student_of, train_arm
from kdaif.teachers import soft_targets

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WHOLE = Sizes(labeled=4000, validation=1000, unlabeled=40_000, test=5000)
_HUNDREDTH = Sizes(labeled=40, validation=20, unlabeled=400, test=50)
SMALL, LARGE = Cnn(), Cnn(channels=(64, 128, 256), hidden_size=256)
_TWO_EPOCHS = {"rounds": 2, "epochs_per_round": 1}
ARMS = ("supervised", "uniform", "influence", "oracle")


def main() -> None:
    """Trains the arms and prints what each reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar_pixels", description=__doc__)
    parser.add_argument("--column", default="worse_label", choices=("worse_label", "random_label1", "aggre_label"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cut", action="store_true", help="a hundredth of the rows, on whatever device there is")
    arguments = parser.parse_args()
    if not (arguments.cut or torch.cuda.is_available()):
        sys.exit("There is no CUDA device here, and on a CPU this takes days. Add --cut to see that it runs.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started_at = datetime.now(UTC)
    rows = []
    for seed in range(arguments.seeds):
        data = pixels_of(arguments.column, _HUNDREDTH if arguments.cut else WHOLE, seed)
        spec = spec_of(SMALL if arguments.cut else LARGE, Training(seed=seed, **(_TWO_EPOCHS if arguments.cut else {})))
        targets = soft_targets(spec, data, device)
        for arm in ARMS:
            started = time.perf_counter()
            *_, last = train_arm(arm, spec, data, targets, seed=seed, device=device)
            measured = of_predictions(predict(student_of(last.state, spec, data), data.test.features, device), data)
            rows.append({"arm": arm, "seed": seed, "seconds": time.perf_counter() - started, **measured})
            print(f"seed {seed}  {arm:12} accuracy {measured['accuracy']:.4f}", flush=True)
    figures = {arm: float(np.mean([row["accuracy"] for row in rows if row["arm"] == arm])) for arm in ARMS}
    print(f"Written: {write_results('cifar_pixels' + '_cut' * arguments.cut, figures, rows, started_at)}")


def spec_of(student: Cnn, training: Training) -> DistillationSpec:
    """The defaults, but for the student."""
    return DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        teacher=Teacher(source=ColumnTeacher(outputs="probabilities", class_names=CLASSES)),
        student=student,
        training=training,
    )


def pixels_of(column: str, sizes: Sizes, seed: int) -> DistillationData:
    """The rows of a job: pictures with their labels, and what ``column`` says of the unlabelled ones."""
    rows = table("cifar10/train.parquet", ["jpeg", "label", column])
    needed = sizes.labeled + sizes.validation + sizes.unlabeled + sizes.test
    rows = rows.take(np.sort(np.random.default_rng(seed).permutation(rows.num_rows)[:needed]))
    labels, said = (rows[name].to_numpy().astype(np.int64) for name in ("label", column))
    pictures = np.stack([_pixels(bytes(jpeg)) for jpeg in rows["jpeg"].to_pylist()])
    return assemble(cut(len(labels), sizes, seed), pictures, labels, CLASSES, said=said)


def _pixels(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


if __name__ == "__main__":
    main()
