"""What the curvature's sub-sample costs in ranks: ``make bench-curvature-rows``.

Only the solve samples: H is made of at most m rows, and every row of U is scored along its solution. Spearman is of the
scores with m rows to those with every row of L and U, at the default damping: Fashion-MNIST, 500 labels, 500 rows of V,
a student of 1e5 parameters. The pool of 6,000 rows is also repeated tenfold, with noise. Mean and lowest of 5 draws, of
2 in the larger pool. The variable ``KDAIF_DATA`` names the folder with Fashion-MNIST.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.record import write_results
from kdaif.datasets import InputSignature
from kdaif.distillation import LabeledRows, SoftRows, log_probabilities, round_schedule, train_steps
from kdaif.influence import curvature_at, influence_scores
from kdaif.records import Mlp, Training
from kdaif.records.spec import Solver
from kdaif.students import Standardisation, Student, build_student

_LABELED, _VALIDATION, _WRONG = 500, 500, 0.2
_TRAINING = Training()
_DRAWS = {1: 5, 10: 2}  # by how many times the pool is repeated
_ROWS = (64, 128, 256, 512, 1024, 2048)
_STEPS = 20


@dataclass(frozen=True, eq=False)
class _Work:
    student: Student
    labeled: Tensor
    pool: Tensor
    log_targets: Tensor
    validation: Tensor
    validation_labels: Tensor


def main() -> None:
    """Entry point."""
    started_at = datetime.now(UTC)
    torch.set_num_threads(1)
    table = [row for times in _DRAWS for row in _rows_of(times)]
    default = [row for row in table if row["curvature_rows"] == 256]
    figures = {f"spearman_{row['solver']}_256_of_{row['all_rows']}": float(row["spearman"]) for row in default}
    print(f"\nWritten: {write_results('curvature_rows', figures, table, started_at)}")


def _rows_of(times: int) -> list[dict[str, Any]]:
    work, found = _work(times), []
    solvers: tuple[Solver, ...] = ("head", "cg")
    n_rows = len(work.labeled) + len(work.pool)
    for solver in solvers:
        every, cpu_s = _scored(work, solver, 2 * n_rows, 0)
        for rows in _ROWS:
            scored = [_scored(work, solver, rows, seed) for seed in range(_DRAWS[times])]
            ranks = [float(spearmanr(scores, every).statistic) for scores, _ in scored]
            found.append(
                {
                    "solver": solver,
                    "all_rows": n_rows,
                    "curvature_rows": rows,
                    "spearman": round(float(np.mean(ranks)), 4),
                    "lowest": round(min(ranks), 4),
                    "cpu_s": round(float(np.mean([seconds for _, seconds in scored])), 2),
                    "cpu_s_of_all_rows": round(cpu_s, 2),
                }
            )
            print("  ".join(f"{name} {value}" for name, value in found[-1].items()), flush=True)
    return found


def _scored(work: _Work, solver: Solver, rows: int, seed: int) -> tuple[NDArray[np.float64], float]:
    started = time.process_time()
    weights = torch.ones(len(work.pool), dtype=torch.float64)
    curvature = curvature_at(work.student, work.labeled, work.pool, weights, training=_TRAINING, rows=rows, seed=seed)
    scores = influence_scores(
        work.student,
        curvature,
        work.pool,
        work.log_targets,
        work.validation,
        work.validation_labels,
        temperature=_TRAINING.temperature,
        blocks=2,
        steps=_STEPS,
        solver=solver,
    )
    return scores.influence, time.process_time() - started


def _work(times: int) -> _Work:
    with np.load(Path(os.environ["KDAIF_DATA"]) / "fashion_mnist_5k" / "fashion_mnist_5k.npz") as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]]).reshape(-1, 784).astype(np.float32) / 255
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)
    generator = np.random.default_rng(0)
    order = generator.permutation(len(labels))
    labeled, validation, pool = np.split(order, [_LABELED, _LABELED + _VALIDATION])
    rows = np.repeat(images[pool], times, axis=0)
    if times > 1:
        rows += 0.05 * generator.standard_normal(rows.shape, np.float32)
    truth = np.repeat(labels[pool], times)
    said = np.where(generator.random(len(truth)) < _WRONG, (truth + 1) % 10, truth)
    log_targets = log_probabilities(torch.from_numpy(4 * np.eye(10, dtype=np.float32)[said]), _TRAINING.temperature)
    signature = InputSignature("numeric", (784,), tuple(f"x{place}" for place in range(784)))
    student = build_student(Mlp(hidden_sizes=(128, 64)), signature, 10, Standardisation.none(signature), 0)
    hard = LabeledRows(torch.from_numpy(images[labeled]), torch.from_numpy(labels[labeled]), labeled)
    soft = SoftRows(torch.from_numpy(rows), log_targets, torch.ones(len(rows)), np.arange(len(rows)))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    steps = round_schedule(_LABELED, len(rows), batch_size=64, epochs=max(1, 5 // times), seed=0, round_number=1)
    train_steps(student, optimizer, hard, soft, steps, _TRAINING)
    held_out = torch.from_numpy(images[validation]), torch.from_numpy(labels[validation])
    return _Work(student.eval(), hard.features, soft.features, log_targets, *held_out)


if __name__ == "__main__":
    main()
