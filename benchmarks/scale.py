"""How time and memory grow with rows, classes and parameters: ``make bench-scale``.

Rows: the whole stack, by `benchmarks.large`, once for each number of rows, and one scoring of as many rows by
influence. Classes and parameters: one scoring of 20,000 rows. Each scoring is at the default solver and by conjugate
gradient, in a fresh process. At last a small job by one process and by two (`benchmarks.processes`). A power law is
fitted to each sweep; an exponent of 1 is linear, and of 0 not at all. Times are of the processor, so that other work on
the machine counts little.

    python -m benchmarks.scale [--rows 10000 100000 1000000] [--folder FOLDER] [--resume] [--page]

``--resume`` keeps what an earlier run has measured, and ``--page`` writes ``docs/results/scale.md`` from the figures.
10 million rows take an hour on two cores, and 40 GB of FOLDER.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import large, processes, scale_page
from benchmarks.record import RESULTS, write_results

_CLASSES = (10, 100, 1000, 10_000)
# Two equal hidden layers of so many units: from 1e4 to 3e7 parameters.
_WIDTHS = (64, 256, 1024, 5400)
_POOL_ROWS, _FEATURES, _WIDTH = 20_000, 64, 64
# A scoring is given its pool in memory: no more rows than these.
_MOST_SCORED = 1_000_000
_PROBE_S = 3600.0
_SOLVERS = ("head", "cg")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--probe", nargs=4, metavar=("ROWS", "CLASSES", "WIDTH", "SOLVER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.probe is not None:
        rows, classes, width, solver = chosen.probe
        print(json.dumps(_probe(int(rows), int(classes), int(width), solver)))
        return
    started_at = datetime.now(UTC)
    file = RESULTS / "scale.json"
    table: list[dict[str, Any]] = json.loads(file.read_text())["table"] if chosen.resume and file.exists() else []
    for sought, measured in _measurements(chosen.rows, chosen.folder):
        if any(sought.items() <= row.items() for row in table):
            continue
        try:
            table.append(sought | measured())
        except (subprocess.SubprocessError, MemoryError) as error:
            print(f"{sought}: {error}; left out", file=sys.stderr)
            continue
        print("  ".join(f"{name} {value}" for name, value in table[-1].items()), flush=True)
        # At once: what takes an hour should not be lost to what fails after it.
        file = write_results("scale", figures_of(table), table, started_at)
    for name, value in figures_of(table).items():
        print(f"{name:36} {value:.3g}")
    print(f"\nWritten: {file}")
    if chosen.page:
        print(f"Written: {scale_page.write(json.loads(file.read_text()))}")


def _measurements(
    rows: Sequence[int], folder: Path | None
) -> list[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """What names each row of the table, and what measures it; the quick ones first."""
    found: list[tuple[dict[str, Any], Callable[[], dict[str, Any]]]] = []

    def scoring(sweep: str, pool_rows: int, classes: int, width: int) -> None:
        for solver in _SOLVERS:
            named = {"sweep": sweep, "solver": solver, "rows": pool_rows, "classes": classes, "width": width}
            found.append((named, partial(_in_fresh_process, pool_rows, classes, width, solver)))

    for classes in _CLASSES:
        scoring("classes", _POOL_ROWS, classes, _WIDTH)
    for pool_rows in rows:
        if pool_rows <= _MOST_SCORED:
            scoring("influence rows", pool_rows, 10, _WIDTH)
    for count in rows:
        found.append(({"sweep": "rows", "rows": count}, partial(_whole_stack, count, folder)))
    for width in _WIDTHS:
        scoring("parameters", _POOL_ROWS, 10, width)
    found.append(({"sweep": "processes"}, partial(_shared, folder)))
    return found


def _shared(folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kdaif-scale-", dir=folder) as place:
        return dict(processes.measured(Path(place)))


def _whole_stack(rows: int, folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kdaif-scale-", dir=folder) as place:
        return dict(large.measured(rows, Path(place)))


def _in_fresh_process(*of: int | str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--probe", *map(str, of)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=_PROBE_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def figures_of(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The exponents of the sweeps that are in the table, and how far two processes of a job lie from one."""
    stack = [row for row in table if row["sweep"] == "rows"]
    fits = {
        "time_exponent_n": _exponent(stack, "rows", "attempt_cpu_s"),
        "time_exponent_n_of_the_two_largest": _exponent(_largest(stack), "rows", "attempt_cpu_s"),
        "upload_exponent_n": _exponent(stack, "rows", "upload_cpu_s"),
        "server_memory_exponent_n": _exponent(stack, "rows", "server_peak_mb"),
        "worker_memory_exponent_n": _exponent(stack, "rows", "worker_peak_mb"),
    }
    for solver in _SOLVERS:
        for sweep, of in (("influence rows", "rows"), ("classes", "classes"), ("parameters", "parameters")):
            rows = [row for row in table if row["sweep"] == sweep and row["solver"] == solver]
            fits[f"{solver}_time_exponent_{of}"] = _exponent(rows, of, "cpu_s")
            fits[f"{solver}_memory_exponent_{of}"] = _exponent(rows, of, "extra_mb")
    memory = [fits[f"{who}_memory_exponent_n"] for who in ("server", "worker")]
    known = {name: value for name, value in fits.items() if value is not None}
    for row in table:
        if row["sweep"] == "processes":
            known["torchrun_max_abs"] = row["max_abs"]
    return known if None in memory else {"memory_exponent_n": max(each for each in memory if each is not None)} | known


def _largest(table: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(table, key=lambda row: int(row["rows"]))[-2:]


def _exponent(table: Sequence[Mapping[str, Any]], of: str, what: str) -> float | None:
    """The exponent b of what = a * of^b, by least squares of the logarithms; None of fewer than two sizes."""
    if len({row[of] for row in table}) < 2:
        return None
    sizes = np.log([float(row[of]) for row in table])
    costs = np.log([max(float(row[what]), 1e-3) for row in table])
    return float(np.polyfit(sizes, costs, 1)[0])


def _probe(rows: int, classes: int, width: int, solver: str) -> dict[str, Any]:
    import torch

    from kdaif.datasets import InputSignature
    from kdaif.influence import curvature_at, influence_scores
    from kdaif.records.architectures import Mlp
    from kdaif.records.spec import Training
    from kdaif.students import Standardisation, build_student

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"x{place}" for place in range(_FEATURES))
    signature = InputSignature("numeric", (_FEATURES,), names)
    student = build_student(
        Mlp(hidden_sizes=(width, width)), signature, classes, Standardisation.none(signature), 0
    ).eval()
    pool, labeled, held_out = (torch.randn(n, _FEATURES, generator=generator) for n in (rows, 1000, 500))
    log_targets = torch.randn(rows, classes, generator=generator)
    log_targets -= log_targets.logsumexp(dim=1, keepdim=True)
    labels = torch.randint(0, classes, (500,), generator=generator)
    training = Training()
    before_mb, started = _resident_mb(), time.process_time()
    _forget_peak()
    curvature = curvature_at(
        student, labeled, pool, torch.ones(rows, dtype=torch.float64), training=training, rows=256, seed=0
    )
    influence_scores(
        student,
        curvature,
        pool,
        log_targets,
        held_out,
        labels,
        temperature=training.temperature,
        blocks=4,
        steps=10,
        solver="head" if solver == "head" else "cg",
    )
    return {
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "cpu_s": round(time.process_time() - started, 3),
        "extra_mb": round(_peak_mb() - before_mb, 1),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _forget_peak() -> None:
    """What the inputs took while they were made is none of a scoring's memory."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
