"""``make bench-gpu``: CIFAR-10 on the pixels with 4,000 labels, on one CUDA card.

The recipe is that of `benchmarks.cifar_pixels`, all arms and rounds of one seed: 40,000 unlabelled pictures, people's
worst labels as the teacher. It tells the accuracy of each arm, its seconds, the pictures trained per second, and the
most memory of the card. ``KDAIF_DATA`` names the folder with ``cifar10/train.parquet``. ``--rehearse`` runs the same
program with a few made-up pictures on whatever device there is, and writes no figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from benchmarks.cifar_pixels import ARMS, CLASSES, LARGE, SMALL, WHOLE, pixels_of, spec_of
from benchmarks.quality.measures import of_predictions
from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.record import write_results
from kdaif.datasets import DistillationData
from kdaif.evaluation import predict
from kdaif.records.spec import DistillationSpec, Training
from kdaif.rounds import student_of, train_arm
from kdaif.teachers import SoftTargets, soft_targets

_FEW = Sizes(labeled=30, validation=30, unlabeled=60, test=30)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rehearse", action="store_true", help="a few made-up pictures, on the CPU where no card is")
    arguments = parser.parse_args()
    if not (arguments.rehearse or torch.cuda.is_available()):
        sys.exit(
            "bench-gpu needs a CUDA device, and torch finds none here. Run it where a card is, with the CUDA build of "
            "torch; or add --rehearse to see the same program run on the CPU."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started_at = datetime.now(UTC)
    if arguments.rehearse:
        data = _made_up(arguments.seed)
        spec = spec_of(SMALL, Training(seed=arguments.seed, rounds=2, epochs_per_round=1, batch_size=32))
    else:
        data = pixels_of("worse_label", WHOLE, arguments.seed)
        spec = spec_of(LARGE, Training(seed=arguments.seed))
    targets = soft_targets(spec, data, device)
    rows = [_trained(arm, spec, data, targets, arguments.seed, device) for arm in ARMS]
    if arguments.rehearse:
        print(f"Rehearsed on {device}; no figures are kept.")
        return
    figures = {f"{row['arm']}_{name}": row[name] for row in rows for name in ("accuracy", "seconds", "peak_gpu_mib")}
    named = [row | {"gpu": torch.cuda.get_device_name(device)} for row in rows]
    print(f"Written: {write_results('gpu', figures, named, started_at)}")


def _trained(
    arm: str, spec: DistillationSpec, data: DistillationData, targets: SoftTargets, seed: int, device: torch.device
) -> dict[str, Any]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started, train_s, pictures = time.perf_counter(), 0.0, 0
    for last in train_arm(arm, spec, data, targets, seed=seed, device=device):
        train_s += last.metrics["train_seconds"]
        pictures += spec.training.epochs_per_round * len(data.unlabeled)
    seconds = time.perf_counter() - started
    measured = of_predictions(predict(student_of(last.state, spec, data), data.test.features, device), data)
    peak_mib = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    told = f"{arm:12} accuracy {measured['accuracy']:.4f}  {seconds:.1f} s  {pictures / train_s:.0f} pictures/s"
    print(told, flush=True)
    return {"arm": arm, "seconds": seconds, "pictures_per_s": pictures / train_s, "peak_gpu_mib": peak_mib, **measured}


def _made_up(seed: int) -> DistillationData:
    """Pictures of chance that are brighter the higher their class."""
    generator = np.random.default_rng(seed)
    n_rows = _FEW.labeled + _FEW.validation + _FEW.unlabeled + _FEW.test
    labels = generator.permutation(np.arange(n_rows) % len(CLASSES)).astype(np.int64)
    pictures = (generator.integers(0, 100, (n_rows, 32, 32, 3)) + 15 * labels[:, None, None, None]).astype(np.uint8)
    return assemble(cut(n_rows, _FEW, seed), pictures, labels, CLASSES, said=labels)


if __name__ == "__main__":
    main()
