"""What weighting costs a round, and what our loop costs beside a bare one: ``make bench-train``.

The same student takes the same steps on the same rows of Fashion-MNIST three times over: the influence arm at the
default setting, the uniform arm, and a bare PyTorch loop that knows no weights, rounds, checks, checkpoints or
names. CPU seconds of the process on one thread, interleaved, medians of the repeats. Everything that an arm does
between its first step and its last counts: the scout, the scoring, the weights' table, the metrics on held-out rows.

    python -m benchmarks.train [--repeats 5] [--rounds 8]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from benchmarks.quality.conditions import CONDITIONS, corrupted_targets, default_spec
from benchmarks.quality.sets.pictures import fashion
from benchmarks.record import write_results
from kdaif.datasets import DistillationData
from kdaif.distillation import round_schedule
from kdaif.processes import keep_memory_between_steps
from kdaif.records.architectures import Architecture, Cnn, Mlp
from kdaif.records.spec import DistillationSpec
from kdaif.rounds import train_arm
from kdaif.students import build_student, standardisation
from kdaif.teachers import SoftTargets

STUDENTS: dict[str, Architecture] = {"mlp": Mlp(hidden_sizes=(128, 64)), "cnn": Cnn()}
_CPU = torch.device("cpu")
_SEED = 0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=8)
    chosen = parser.parse_args()
    started_at = datetime.now(UTC)
    torch.set_num_threads(1)
    keep_memory_between_steps()  # as in a worker; what the kernel takes to map memory anew is no part of any side
    figures = {"weighted_round_ratio": 0.0, "ratio_to_bare_loop": 0.0}
    table = []
    for name, student in STUDENTS.items():
        took = _cpu_seconds(student, chosen.rounds, chosen.repeats)
        row = {
            "weighted_round_ratio": took["influence"] / took["uniform"],
            "ratio_to_bare_loop": took["influence"] / took["bare"],
            "uniform_to_bare_loop": took["uniform"] / took["bare"],
        }
        table.append({"student": name, **{f"{arm}_cpu_s": seconds for arm, seconds in took.items()}, **row})
        print(f"{name:4}", "  ".join(f"{key} {value:.3f}" for key, value in table[-1].items() if key != "student"))
        figures = {key: max(value, row[key]) for key, value in figures.items()}  # the worst of the students
    print(f"\nWritten: {write_results('train', figures, table, started_at)}")


def _cpu_seconds(student: Architecture, rounds: int, repeats: int) -> dict[str, float]:
    data = fashion(_SEED)
    spec = default_spec(data, _SEED)
    spec = spec.model_copy(update={"student": student, "training": spec.training.model_copy(update={"rounds": rounds})})
    targets = corrupted_targets(spec, data, CONDITIONS["symmetric .2"])
    works: dict[str, Callable[[], Any]] = {
        "influence": lambda: list(train_arm("influence", spec, data, targets, seed=_SEED, device=_CPU)),
        "uniform": lambda: list(train_arm("uniform", spec, data, targets, seed=_SEED, device=_CPU)),
        "bare": lambda: _bare_loop(spec, data, targets),
    }
    works["bare"]()  # what is first pays for what torch prepares once
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started = time.process_time()
            work()
            seconds[name].append(time.process_time() - started)
    return {name: median(of) for name, of in seconds.items()}


def _bare_loop(spec: DistillationSpec, data: DistillationData, targets: SoftTargets) -> None:
    """The floor: what somebody writes by hand who wants this student and nothing else."""
    training, temperature = spec.training, spec.training.temperature
    inputs = standardisation([data.labeled.features, data.unlabeled.features], data.signature)
    student = build_student(spec.student, data.signature, len(data.class_names), inputs, _SEED).train()
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    labeled, labels = torch.from_numpy(data.labeled.features), torch.from_numpy(data.labeled.labels)
    unlabeled = torch.from_numpy(data.unlabeled.features)
    soft = torch.softmax(torch.from_numpy(targets.logits) / temperature, dim=1)
    for number in range(1, training.rounds + 1):
        for step in round_schedule(
            len(labeled),
            len(unlabeled),
            batch_size=training.batch_size,
            epochs=training.epochs_per_round,
            seed=_SEED,
            round_number=number,
        ):
            first, second = torch.from_numpy(step.labeled), torch.from_numpy(step.unlabeled)
            logits = student(torch.cat([labeled[first], unlabeled[second]]))
            hard = functional.cross_entropy(logits[: len(first)], labels[first])
            told = functional.log_softmax(logits[len(first) :] / temperature, dim=1)
            loss = training.hard_label_weight * hard
            loss = loss + training.soft_label_weight * temperature**2 * functional.kl_div(
                told, soft[second], reduction="batchmean"
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


if __name__ == "__main__":
    main()
