"""Targets of 10,000 classes, whole and kept by their largest: ``make bench-targets``.

A round of the influence arm, with its scoring, of 20,000 rows in a fresh process each: seconds of the processor, peak
memory beyond PyTorch, the most scratch on the disk, and what a checkpoint and the soft targets take in the store. And
the error: of loss and gradient at the first student, and Spearman of the weights.

    python -m benchmarks.many_classes [--rows 20000] [--classes 10000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.stats import spearmanr

from benchmarks.record import write_results
from kdaif.scratch import Scratch
from kdaif.top_classes import Logits, empty_logits

_FEATURES, _ALIKE, _RUN = 64, 20, 500
_WAYS = ("whole", "kept")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--probe", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.probe is not None:
        print(json.dumps(_probe(chosen.rows, chosen.classes, chosen.probe[0], Path(chosen.probe[1]))))
        return
    started_at = datetime.now(UTC)
    table, weights = [], []
    with tempfile.TemporaryDirectory(prefix="kdaif-targets-") as folder:
        for way in _WAYS:
            file = Path(folder) / f"{way}.npy"
            table.append({"targets": way} | _in_fresh_process(chosen.rows, chosen.classes, way, file))
            weights.append(np.load(file))
            print("  ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
    figures = {"spearman_of_weights": float(spearmanr(*weights).statistic)} | _errors(chosen.classes)
    for name, value in figures.items():
        print(f"{name:36} {value:.4f}")
    print(f"\nWritten: {write_results('targets', figures, table, started_at)}")


def _in_fresh_process(rows: int, classes: int, way: str, file: Path) -> dict[str, Any]:
    size = ["--rows", str(rows), "--classes", str(classes)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.many_classes", *size, "--probe", way, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=3600,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Measured(Scratch):
    """Scratch that counts what lies on the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.most_bytes = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As `Scratch.empty`."""
        found = super().empty(shape, dtype)
        self.most_bytes = max(self.most_bytes, sum(file.size for file in self._maps.values()))
        return found


def _logits(rows: int, classes: int, named: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """A classifier of many classes: the named one and some others like it stand out, the rest is noise."""
    generator = np.random.default_rng(3)
    for start in range(0, rows, _RUN):
        some = slice(start, min(start + _RUN, rows))
        said = generator.standard_normal((some.stop - start, classes), np.float32)
        places = np.arange(len(said))
        for _ in range(_ALIKE):
            said[places, generator.integers(0, classes, len(said))] += generator.uniform(6, 12, len(said))
        said[places, named[some]] += 14
        yield some, said


def _probe(rows: int, classes: int, way: str, file: Path) -> dict[str, Any]:
    import torch

    from kdaif.datasets import DistillationData, InputSignature, Rows
    from kdaif.records import DistillationSpec, Mlp, PreflightReport, Training, Weighting
    from kdaif.rounds import train_arm
    from kdaif.teachers import SoftTargets

    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((classes, _FEATURES), np.float32)

    def part(n: int, first: int) -> tuple[Rows, NDArray[np.int64]]:
        labels = generator.integers(0, classes, n)
        features = 1.5 * centres[labels] + generator.standard_normal((n, _FEATURES), np.float32)
        return Rows(np.arange(first, first + n), features, labels), labels

    (labeled, _), (validation, _), (gate, _), (test, _) = (part(n, 10**6 * n) for n in (2000, 500, 100, 100))
    unlabeled, truth = part(rows, 0)
    wrong = generator.random(rows) < 0.2
    named = np.where(wrong, generator.integers(0, classes, rows), truth)
    data = DistillationData(
        tuple(f"c{code}" for code in range(classes)),
        InputSignature("numeric", (_FEATURES,), tuple(f"x{place}" for place in range(_FEATURES))),
        labeled,
        validation,
        gate,
        Rows(unlabeled.ids, unlabeled.features, truth[:0]),
        test,
        PreflightReport(),
        True,
    )
    training = Training(rounds=1, epochs_per_round=1)
    spec = DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        student=Mlp(hidden_sizes=(64,)),
        training=training,
        # Not the default solver, which decomposes a matrix of classes by classes.
        weighting=Weighting(solver="cg", blocks=4),
    )
    before_mb, started = _resident_mb(), time.process_time()
    with tempfile.TemporaryDirectory(prefix="kdaif-scratch-", dir=file.parent) as folder:
        scratch = _Measured(Path(folder))
        logits: Logits = empty_logits(rows, classes, training.temperature if way == "kept" else None, scratch)
        for some, said in _logits(rows, classes, named):
            logits[some] = said
            scratch.release()
        targets = SoftTargets(logits, None, None, None)
        (outcome,) = train_arm("influence", spec, data, targets, seed=0, device=torch.device("cpu"), scratch=scratch)
    np.save(file, outcome.state.tensors["weighting/weights"].numpy())
    arrays = [logits] if isinstance(logits, np.ndarray) else logits.arrays.values()
    return {
        "rows": rows,
        "classes": classes,
        "cpu_s": round(time.process_time() - started, 1),
        "extra_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before_mb),
        "scratch_mb": round(scratch.most_bytes / 1e6),
        "checkpoint_mb": round(sum(t.numel() * t.element_size() for t in outcome.state.tensors.values()) / 1e6),
        "soft_targets_mb": round(sum(array.nbytes for array in arrays) / 1e6, 1),
    }


def _errors(classes: int) -> dict[str, float]:
    """Of the loss and of its gradient in the logits of a student that knows nothing, against those of whole rows."""
    import torch

    from kdaif.distillation import distillation_loss, log_probabilities
    from kdaif.influence import logit_gradients
    from kdaif.records import Training
    from kdaif.top_classes import TopClasses
    from kdaif.top_rows import log_targets_of
    from kdaif.workspace import Workspace

    temperature = Training().temperature
    named = np.random.default_rng(0).integers(0, classes, _RUN)
    (_, said), *_ = _logits(_RUN, classes, named)
    top = TopClasses.empty(_RUN, classes, temperature, Scratch())
    top[:] = said
    whole = log_probabilities(torch.from_numpy(said).double(), temperature)
    kept = log_targets_of(top, Workspace(torch.device("cpu")))[:].double()
    student = torch.randn(_RUN, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = [distillation_loss(student, log_targets, temperature) for log_targets in (kept, whole)]
    gradients = [logit_gradients(student, log_targets, temperature, None) for log_targets in (kept, whole)]
    tail = 1 - whole.exp().topk(top.values.shape[1], dim=1).values.sum(1)
    return {
        "tail_mass_median": float(tail.median()),
        "loss_error_median": float(((losses[0] - losses[1]).abs() / losses[1]).median()),
        "gradient_error_median": float(((gradients[0] - gradients[1]).norm(dim=1) / gradients[1].norm(dim=1)).median()),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
