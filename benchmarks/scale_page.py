"""``docs/results/scale.md``, from the figures of `benchmarks.scale`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
        "a basis instead of decomposing a matrix of classes by classes: 9 s at 10,000, where it took 301, and half the "
        "memory.",
    ]
    for sweep, (title, text, columns) in _SWEEPS.items():
        rows = [row for row in document["table"] if row["sweep"] == sweep]
        if rows:
            parts += ["", f"## {title}", "", text, "", *_table(rows, columns)]
    PAGE.write_text("\n".join(parts) + "\n")
    return PAGE


def _figures(figures: Mapping[str, float]) -> list[str]:
    head = ["| exponent | |", "|---|---:|"]
    return [*head, *(f"| `{name}` | {value:.2f} |" for name, value in figures.items())]


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    head = [f"| {' | '.join(columns)} |", "|" + "---:|" * len(columns)]
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in columns[:2]))
    return [*head, *(f"| {' | '.join(_shown(row[column]) for column in columns)} |" for row in ordered)]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) and value < 10 else f"{value:,.0f}"
