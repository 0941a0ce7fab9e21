"""Starts one process per measurement, and keeps what each said, so that a run that broke off goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.influence.plan import Entry

_ROOT = Path(__file__).parent.parent.parent
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Run:
    """One process.

    Attributes:
        key: of the entry.
        cold_s: CPU seconds of the first call.
        warm_s: of the second.
        peak_mib: of the first.
        refused: what the library said instead of scoring; empty if it scored.
    """

    key: str
    cold_s: float = 0.0
    warm_s: float = 0.0
    peak_mib: float = 0.0
    refused: str = ""


def all_runs(entries: Iterable[Entry], repeats: int, folder: Path, rivals_python: str) -> list[Run]:
    """Every entry once, then again, until each has been run often enough."""
    file = folder / "runs.jsonl"
    found = [Run(**json.loads(line)) for line in file.read_text().splitlines()] if file.is_file() else []
    for repeat in range(1, repeats + 1):
        for entry in entries:
            of_entry = [run for run in found if run.key == entry.key]
            if len(of_entry) >= min(repeat, entry.most_repeats) or any(run.refused for run in of_entry):
                continue
            run = _run(entry, folder, sys.executable if entry.ours else rivals_python)
            print(run, flush=True)
            found.append(run)
            with file.open("a") as lines:
                lines.write(json.dumps(vars(run)) + "\n")
    return found


def _run(entry: Entry, folder: Path, python: str) -> Run:
    command = [python, "-W", "ignore", "-m", "benchmarks.influence.clock", entry.method, entry.net]
    command += ["--steps", str(entry.steps), "--folder", str(folder)]
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "") if entry.ours else ""]))
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": path},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Run(entry.key, refused=lines[-1] if lines else f"exit {done.returncode}")
    return Run(entry.key, **json.loads(done.stdout.strip().splitlines()[-1]))
