"""The figures that are promised by name stand in the files of their benchmarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale_page
from benchmarks.queue_rate import QueueRate, Rate
from benchmarks.scale import figures_of

ROOT = Path(__file__).parents[2]


def test_the_queues_ratio_is_to_as_many_writes_of_the_same_library() -> None:
    bare, kept = Rate(2800, 0.3, 0.1), Rate(5600, 0.1, 0.1)
    rate = QueueRate(Rate(1400, 0.7, 0.3), bare, kept, {"SET": 21_000.0, "RPUSH": 20_000.0})
    assert rate.figures["queue_ratio"] == pytest.approx(0.5)
    assert rate.figures["queue_ratio_to_kept"] == pytest.approx(0.25)
    assert rate.figures["queue_ratio_to_redis_benchmark"] == pytest.approx(0.2)


def test_growth_is_fitted_and_two_processes_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = [
        {"sweep": "rows", "rows": rows, "attempt_cpu_s": rows / 1000, "upload_cpu_s": 1.0, "seconds": 1.0}
        | {"server_peak_mb": 100.0, "worker_peak_mb": 200.0 + rows / 1e4}
        for rows in (10_000, 100_000, 1_000_000)
    ]
    table: list[dict[str, Any]] = [*stack, {"sweep": "processes", "max_abs": 3e-8, "one_s": 39.0, "two_s": 48.5}]
    figures = figures_of(table)
    assert figures["time_exponent_n"] == pytest.approx(1.0)
    assert 0 < figures["memory_exponent_n"] < 0.1
    assert figures["torchrun_max_abs"] == 3e-8
    assert "torchrun_max_abs" not in figures_of(stack)
    monkeypatch.setattr(scale_page, "PAGE", tmp_path / "scale.md")
    machine = {"cores": 2, "cpu": "one", "memory_gib": 8}
    document = {"machine": machine, "started_at": "today", "figures": figures, "table": table}
    assert "| 3.0e-08 | 39 | 48 |" in scale_page.write(document).read_text()


def test_make_bench_runs_every_part() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    verbs = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY")).split()[1:]
    assert verbs <= set(phony)
    (parts,) = re.findall(r"^BENCH_PARTS := (.+)$", makefile, re.MULTILINE)
    assert {f"bench-{part}" for part in parts.split()} <= verbs
    assert {"influence", "train", "upload", "queue", "weights", "scale"} <= set(parts.split())
