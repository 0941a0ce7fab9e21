"""Cells: one data set, condition, seed and arm each. Finished ones are kept, so that a run can go on where it stopped.

A cell's file name ends in a digest of the code it came from: a change of the influence code makes the influence arms
run again, and leaves the rivals' cells as they are.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.quality.arms import DEFAULT, PARTS, RIVALS, STABILITY, run_arm
from benchmarks.quality.conditions import CONDITIONS, corrupted_targets, default_spec
from benchmarks.quality.sets import SETS
from benchmarks.record import RESULTS
from kdaif.records.base import SpecModel
from kdaif.records.spec import DistillationSpec

CELLS = RESULTS / "quality_cells"
_ROOT = Path(__file__).parent.parent.parent
SHARED_SOURCES = (
    "kdaif/distillation",
    "kdaif/students",
    "kdaif/teachers",
    "benchmarks/quality/parts.py",
    "benchmarks/quality/conditions.py",
    "benchmarks/quality/measures.py",
)
INFLUENCE_SOURCES = ("kdaif/rounds", "kdaif/influence", "kdaif/linalg", "kdaif/weighting")
_PROCESSES = 2


@dataclass(frozen=True)
class Unit:
    """What one process does at a stretch: all conditions and arms of a data set at a seed."""

    data_set: str
    seed: int
    conditions: tuple[str, ...]
    arms: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """A unit and the digests of its arms, taken when the run began and the processes load their code."""

    unit: Unit
    digests: dict[str, str]

    def file(self, condition: str, arm: str) -> Path:
        """Where the cell is kept."""
        name = "-".join((self.unit.data_set, condition, str(self.unit.seed), arm, self.digests[arm]))
        return CELLS / f"{name.replace(' ', '_')}.json"


@dataclass(frozen=True)
class Cell:
    """A finished cell."""

    data_set: str
    condition: str
    seed: int
    arm: str
    measures: dict[str, Any]


def run_units(units: Sequence[Unit]) -> tuple[list[Cell], dict[str, str]]:
    """Runs what is missing, two processes at most and one thread each.

    Returns:
        All cells of the units, and for each data set that was left out why.
    """
    left_out: dict[str, str] = {}
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tasks = [_Task(unit, {arm: _digest(unit.data_set, arm) for arm in unit.arms}) for unit in units]
    started = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_PROCESSES, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        running = {pool.submit(_run, task): task.unit for task in tasks}
        for number, future in enumerate(as_completed(running), start=1):
            unit, reason = running[future], future.result()
            if reason is not None:
                left_out[unit.data_set] = reason
            seconds = time.perf_counter() - started
            sys.stderr.write(f"{seconds:6.0f} s  {number}/{len(units)}  {unit.data_set} seed {unit.seed}\n")
    return [cell for task in tasks for cell in _finished(task)], left_out


def _begin(parent: int) -> None:
    """One thread for torch; and a process whose parent was killed ends too."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _run(task: _Task) -> str | None:
    """Trains the missing arms; says why, when the data cannot be had."""
    CELLS.mkdir(parents=True, exist_ok=True)
    unit = task.unit
    missing = {
        condition: [arm for arm in unit.arms if not task.file(condition, arm).is_file()]
        for condition in unit.conditions
    }
    if not any(missing.values()):
        return None
    try:
        data = SETS[unit.data_set].load(unit.seed)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        return str(error)
    spec = default_spec(data, unit.seed)
    for condition, arms in missing.items():
        targets = corrupted_targets(spec, data, CONDITIONS[condition])
        wrong = float((targets.logits[:].argmax(axis=1) != data.unlabeled.truth).mean())
        for arm in arms:
            measures = run_arm(arm, spec, data, targets, unit.seed) | {"wrong_share": wrong}
            _write(task.file(condition, arm), measures)
    return None


def _write(file: Path, measures: dict[str, Any]) -> None:
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(measures))
    unfinished.replace(file)


def _finished(task: _Task) -> Iterator[Cell]:
    for condition in task.unit.conditions:
        for arm in task.unit.arms:
            file = task.file(condition, arm)
            if file.is_file():
                yield Cell(task.unit.data_set, condition, task.unit.seed, arm, json.loads(file.read_text()))


@cache
def _digest(data_set: str, arm: str) -> str:
    """Of the code and the defaults that a cell depends on."""
    loader = Path(inspect.getfile(SETS[data_set].load)).relative_to(_ROOT)
    spec = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)
    settings: list[SpecModel] = [spec.teacher, spec.student, spec.training, spec.splits]
    sources = [*SHARED_SOURCES, str(loader)]
    if arm in RIVALS:
        module = Path(inspect.getfile(RIVALS[arm].start)).relative_to(_ROOT)
        sources += [str(module), "benchmarks/quality/loop.py"]
        if module.name == "influence_rivals.py":
            sources += INFLUENCE_SOURCES
            settings.append(spec.weighting)
    elif arm in (DEFAULT, STABILITY, *PARTS):
        sources += INFLUENCE_SOURCES
        settings.append(spec.weighting)
    else:
        sources += ["kdaif/rounds/train_arm.py"]
    return digest_of(sources, "".join(setting.model_dump_json() for setting in settings))


def digest_of(sources: Sequence[str], settings: str) -> str:
    """Of files and folders of the repository, and settings."""
    digest = hashlib.sha256(settings.encode())
    for source in sources:
        for file in _python_files(_ROOT / source):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]
