"""``docs/results/scale.md``, from the figures of `benchmarks.scale`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "results" / "scale.md"
_SWEEPS = {
    "rows": (
        "Rows: the whole stack",
        "R rows of 64 features are uploaded and distilled for one round of one epoch, teacher, weights, scorecard and "
        "files included. Memory is the highest that the kernel saw, PyTorch included.",
        ("rows", "upload_cpu_s", "attempt_cpu_s", "seconds", "server_peak_mb", "worker_peak_mb"),
    ),
    "influence rows": (
        "Rows: one scoring by influence",
        "Of an MLP 64-64-64-10; memory is what a scoring takes beyond its inputs and PyTorch.",
        ("solver", "rows", "parameters", "cpu_s", "extra_mb"),
    ),
    "classes": (
        "Classes",
        "One scoring of 20,000 rows, two hidden layers of 64.",
        ("solver", "classes", "parameters", "cpu_s", "extra_mb"),
    ),
    "parameters": (
        "Parameters",
        "One scoring of 20,000 rows of 10 classes.",
        ("solver", "parameters", "cpu_s", "extra_mb"),
    ),
    "processes": (
        "Two processes for one job",
        "The largest difference of a parameter between the students of a job on digits that one process trained and "
        "that two shared, started by torchrun; seconds of the clock of the whole stack.",
        ("max_abs", "one_s", "two_s"),
    ),
}


def write(document: Mapping[str, Any]) -> Path:
    """Writes the page of what ``scale.json`` holds."""
    machine = document["machine"]
    parts = [
        "# Growth",
        "",
        "How seconds of processor and peak memory grow with rows, classes and parameters, each fitted to a power law: "
        "an exponent of 1 is linear, of 0 no growth. Written by `make bench-scale`; numbers in other orders of size by "
        '`make bench-scale ROWS="10000 10000000"`.',
        "",
        f"Measured on {machine['cores']} cores ({machine['cpu']}, {machine['memory_gib']} GiB), at "
        f"{document['started_at']}, with other work on the machine: seconds of the clock (`seconds`) are too many.",
        "",
        *_figures(document["figures"]),
        "",
        "Memory of server and worker grows by some 50 to 120 MB where rows grow tenfold, pages of mapped files "
        "included. Seconds of an attempt have a start-up of some 9 s in them, so that the exponent of the two largest "
        "says more than the fit of all. Over 1,000 classes the default solver, `head`, takes the classes themselves as "
        "a basis instead of decomposing a matrix of classes by classes: some 7 to 9 s at 10,000, where it took 301, in "
        "two thirds of the memory or less.",
    ]
    for sweep, (title, text, columns) in _SWEEPS.items():
        rows = [row for row in document["table"] if row["sweep"] == sweep]
        if rows:
            parts += ["", f"## {title}", "", text, "", *_table(rows, columns)]
    PAGE.write_text("\n".join([*parts, *many_classes(), *curvature_rows()]) + "\n")
    return PAGE


def many_classes() -> list[str]:
    """What `benchmarks.many_classes` measured; nothing where it was not run."""
    document = _measured("targets")
    if document is None:
        return []
    figures, row = document["figures"], document["table"][0]
    columns = ("targets", "cpu_s", "extra_mb", "scratch_mb", "soft_targets_mb", "checkpoint_mb")
    return [
        "",
        f"## Targets of {row['classes']:,} classes",
        "",
        f"One round of the influence arm, scoring by `cg` included, of {row['rows']:,} rows, with an MLP of 64 units. "
        "Above 256 classes a row keeps its 64 largest logits and the mass of all others, spread evenly (ADR 35); "
        "`whole` is the same with that switched off. `extra_mb` is the most that was resident beyond PyTorch, pages of "
        "mapped files included; `scratch_mb` the most on the worker's disk; the last two are what the store keeps.",
        "",
        *_table(document["table"], columns),
        "",
        f"The weights of both have a rank correlation of {figures['spearman_of_weights']:.3f}. In the teacher 21 "
        "classes stand out, over noise in all others, and beyond the 64 kept ones lies "
        f"{figures['tail_mass_median']:.0%} of the mass at T = 2 (median). For a student that knows nothing the loss "
        f"differs by {figures['loss_error_median']:.1%}, and its gradient in the logits by "
        f"{figures['gradient_error_median']:.1%} of its length (medians over rows). Written by `make bench-targets`.",
    ]


def curvature_rows() -> list[str]:
    """What `benchmarks.curvature_rows` measured; nothing where it was not run."""
    document = _measured("curvature_rows")
    if document is None:
        return []
    columns = ("solver", "all_rows", "curvature_rows", "spearman", "lowest", "cpu_s", "cpu_s_of_all_rows")
    return [
        "",
        "## Rows of the solve",
        "",
        "However large the pool, the solve looks at `curvature_rows` of it (256): half of them labelled rows where "
        "there are as many, the others drawn from U without regard to anything but the seed. Scores are then of every "
        "row. Spearman is to the scores of a solve with every row of L and U, at the default damping: Fashion-MNIST, "
        "an MLP 784-128-64-10, the larger pool by noisy copies; mean and lowest of 5 draws (2 of the larger pool). "
        "Written by `make bench-curvature-rows`.",
        "",
        *_table(document["table"], columns),
    ]


def _measured(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def _figures(figures: Mapping[str, float]) -> list[str]:
    head = ["| exponent | |", "|---|---:|"]
    exponents = {name: value for name, value in figures.items() if "_exponent_" in name}
    return [*head, *(f"| `{name}` | {value:.2f} |" for name, value in exponents.items())]


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|" + "---:|" * len(columns)]
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in columns[:3] if column != "cpu_s"))
    return [*head, *(f"| {' | '.join(_shown(row[column]) for column in columns)} |" for row in ordered)]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and value < 1 and round(value, 2) != value:
        return f"{value:.3f}" if value >= 1e-3 else f"{value:.1e}"
    return f"{value:,.2f}" if isinstance(value, float) and value < 10 else f"{value:,.0f}"
