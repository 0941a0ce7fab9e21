"""What the levers of PyTorch give a training step: fused AdamW, channels last, `torch.compile`; part of bench-train.

Milliseconds of the processor of a step on one thread, 64 labelled and 64 unlabelled rows of Fashion-MNIST's shape,
interleaved, medians of the repeats. What a compiler takes before the first step is told apart.

    python -m benchmarks.train_levers [--repeats 5] [--steps 100]
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

from benchmarks.record import write_results
from benchmarks.train import STUDENTS
from kdaif.datasets import InputSignature
from kdaif.students import Standardisation, build_student

_ROWS, _CLASSES = 128, 10
_LEVERS = ("as we train", "not fused", "channels last", "compiled")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    chosen = parser.parse_args()
    started_at = datetime.now(UTC)
    torch.set_num_threads(1)
    table: list[dict[str, Any]] = []
    for name in STUDENTS:
        works = {lever: _Work(name, lever) for lever in _LEVERS if (name, lever) != ("mlp", "channels last")}
        took: dict[str, list[float]] = {lever: [] for lever in works}
        for _ in range(chosen.repeats):
            for lever, work in works.items():
                took[lever].append(1000 * work.cpu_s(chosen.steps) / chosen.steps)
        ours = median(took["as we train"])
        for lever, work in works.items():
            ms = median(took[lever])
            table.append(
                {"student": name, "lever": lever, "ms": ms, "ratio": ms / ours, "before_the_first_step_s": work.first_s}
            )
            print("  ".join(f"{key} {value}" for key, value in table[-1].items()), flush=True)
    figures = {f"{row['student']}_{row['lever'].replace(' ', '_')}_ratio": row["ratio"] for row in table}
    print(f"\nWritten: {write_results('train_levers', figures, table, started_at)}")


class _Work:
    """One student that trains with one lever; ready once it is made."""

    def __init__(self, name: str, lever: str) -> None:
        generator = torch.Generator().manual_seed(0)
        signature = InputSignature("image", (28, 28, 1), ("image",))
        student = build_student(STUDENTS[name], signature, _CLASSES, Standardisation.none(signature), 0).train()
        if lever == "channels last":
            student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, fused=lever != "not fused")
        self._rows = torch.randint(0, 256, (_ROWS, 28, 28, 1), dtype=torch.uint8, generator=generator)
        self._labels = torch.randint(0, _CLASSES, (_ROWS // 2,), generator=generator)
        self._soft = torch.randn(_ROWS // 2, _CLASSES, generator=generator).softmax(dim=1)
        self._logits: Callable[[Any], Any] = torch.compile(student) if lever == "compiled" else student
        self.first_s = self.cpu_s(3)

    def cpu_s(self, steps: int) -> float:
        """Of so many steps, the compiler's own processes left out."""
        started = time.process_time()
        for _ in range(steps):
            logits = self._logits(self._rows)
            hard = functional.cross_entropy(logits[: _ROWS // 2], self._labels)
            told = functional.log_softmax(logits[_ROWS // 2 :] / 2, dim=1)
            loss = hard + 4 * functional.kl_div(told, self._soft, reduction="batchmean")
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        return time.process_time() - started


if __name__ == "__main__":
    main()
