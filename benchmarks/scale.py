"""How time and memory grow with rows, classes and parameters: ``make bench-scale``.

Rows: the whole stack, by `benchmarks.large`, once for each number of rows. Classes and parameters: one scoring of
20,000 rows by influence, at the default solver and by conjugate gradient, each in a fresh process. A power law is
fitted to each sweep; an exponent of 1 is linear, and of 0 not at all.

    python -m benchmarks.scale [--rows 10000 100000 1000000] [--folder FOLDER]

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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import large
from benchmarks.record import write_results

_CLASSES = (10, 100, 1000, 10_000)
# Two equal hidden layers of so many units: from 1e4 to 3e7 parameters.
_WIDTHS = (64, 256, 1024, 5400)
_POOL_ROWS, _FEATURES = 20_000, 64
_PROBE_S = 1800.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--probe", nargs=3, type=int, metavar=("CLASSES", "WIDTH", "HEAD"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.probe is not None:
        print(json.dumps(_probe(*chosen.probe)))
        return
    started_at = datetime.now(UTC)
    by_rows = [_whole_stack(rows, chosen.folder) for rows in chosen.rows]
    by_classes = [_in_fresh_process(classes, 64, head) for classes in _CLASSES for head in (1, 0)]
    by_width = [_in_fresh_process(10, width, head) for width in _WIDTHS for head in (1, 0)]
    figures = {
        "time_exponent_n": _exponent(by_rows, "rows", "attempt_s"),
        "memory_exponent_n": max(_exponent(by_rows, "rows", f"{who}_peak_mb") for who in ("server", "worker")),
    }
    for solver in ("head", "cg"):
        classes = [row for row in by_classes if row["solver"] == solver]
        parameters = [row for row in by_width if row["solver"] == solver]
        figures |= {
            f"{solver}_time_exponent_classes": _exponent(classes, "classes", "cpu_s"),
            f"{solver}_memory_exponent_classes": _exponent(classes, "classes", "extra_mb"),
            f"{solver}_time_exponent_parameters": _exponent(parameters, "parameters", "cpu_s"),
            f"{solver}_memory_exponent_parameters": _exponent(parameters, "parameters", "extra_mb"),
        }
    table = [*by_rows, *by_classes, *by_width]
    for row in table:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    for name, value in figures.items():
        print(f"{name:36} {value:.3f}")
    print(f"\nWritten: {write_results('scale', figures, table, started_at)}")


def _whole_stack(rows: int, folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kdaif-scale-", dir=folder) as place:
        return dict(large.measured(rows, Path(place)))


def _in_fresh_process(classes: int, width: int, head: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--probe", str(classes), str(width), str(head)],
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _exponent(table: Sequence[Mapping[str, Any]], of: str, what: str) -> float:
    """The exponent b of what = a * of^b, by least squares of the logarithms."""
    sizes = np.log([float(row[of]) for row in table])
    costs = np.log([max(float(row[what]), 1e-3) for row in table])
    return float(np.polyfit(sizes, costs, 1)[0])


def _probe(classes: int, width: int, head: int) -> dict[str, Any]:
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
    pool, labeled, held_out = (torch.randn(n, _FEATURES, generator=generator) for n in (_POOL_ROWS, 1000, 500))
    log_targets = torch.log_softmax(torch.randn(_POOL_ROWS, classes, generator=generator), dim=1)
    labels = torch.randint(0, classes, (500,), generator=generator)
    training = Training()
    before_mb, started = _resident_mb(), time.process_time()
    curvature = curvature_at(
        student, labeled, pool, torch.ones(_POOL_ROWS, dtype=torch.float64), training=training, rows=256, seed=0
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
        solver="head" if head else "cg",
    )
    return {
        "solver": "head" if head else "cg",
        "classes": classes,
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "rows": _POOL_ROWS,
        "cpu_s": round(time.process_time() - started, 3),
        "extra_mb": round(_peak_mb() - before_mb, 1),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
