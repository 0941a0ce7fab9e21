"""What the gate of int8 lets through, judged on rows that it never saw. Size and time keep nothing out here."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.student_rows import CLASSES, SIGNATURES, rows_of
from kdaif.export import GateRows, checked_rows, export_onnx, make_variants
from kdaif.export.gate import faults
from kdaif.export.timing import open_session
from kdaif.records import Cnn, Export, Mlp, Network, TextEncoder
from kdaif.students import Student, build_student

_GATE = Export(variants=("int8",), min_gain=0.0, max_slowdown=100.0)
_OPEN = _GATE.model_copy(update={"min_agreement": 0.0, "max_class_drop_points": 100.0})
_GATE_ROWS, _HELD_OUT_ROWS = 1000, 5000
_SEEDS = 2
_STEPS, _BATCH = 150, 256
# By how much a few hidden numbers are larger than the others: nothing to fp32, everything to the one range of int8.
_OUTLIERS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_OUTLYING = 4
_NETWORKS: Mapping[str, Network] = {
    "numeric": Mlp(hidden_sizes=(64, 64)),
    "image": Cnn(channels=(8, 8), hidden_size=32),
    "text": TextEncoder(width=32, heads=2, depth=1, dropout=0.0),
}


@dataclass(frozen=True)
class Trial:
    """One network and its int8 file.

    Attributes:
        kind: of the rows.
        harm: what was done to it; "none" where nothing was.
        shipped: the gate let it through.
        bad: on the held-out rows a class loses more than its bar, or too few rows keep their class.
        agreement: share of the held-out rows that keep their class.
    """

    kind: str
    harm: str
    shipped: bool
    bad: bool
    agreement: float


def trials(kinds: Sequence[str] = tuple(_NETWORKS), seeds: int = _SEEDS) -> list[Trial]:
    """Of networks that int8 suits, and of the same ones with outlying numbers or calibrated on a corner of the rows."""
    found = []
    for kind in kinds:
        for seed in range(seeds):
            student = _trained(kind, seed)
            for outlier in _OUTLIERS:
                harm = "none" if outlier == 1 else f"outliers {outlier:g}"
                found.append(_trial(kind, seed, harm, _with_outliers(student, outlier)))
            found.append(_trial(kind, seed, "one calibration row, washed out", student))
    return found


def figures(found: Sequence[Trial]) -> dict[str, float]:
    """The figures of `edge.json`."""
    bad = [trial.shipped for trial in found if trial.bad]
    good = [trial.shipped for trial in found if not trial.bad]
    return {
        "int8_gate_false_ship": float(np.mean(bad)),
        "int8_gate_false_refusal": 1 - float(np.mean(good)),
        "int8_gate_bad": float(len(bad)),
        "int8_gate_good": float(len(good)),
    }


def _trained(kind: str, seed: int) -> Student:
    rows, codes = rows_of(SIGNATURES[kind], _STEPS * _BATCH, seed)
    student = build_student(_NETWORKS[kind], SIGNATURES[kind], len(CLASSES), rows[:1000], seed).train()
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    for own in np.split(np.arange(len(rows)), _STEPS):
        loss = nn.functional.cross_entropy(student(torch.from_numpy(rows[own])), torch.from_numpy(codes[own]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return student.eval()


def _with_outliers(student: Student, outlier: float) -> Student:
    """Computes what it did: a few hidden numbers are larger, and what they are multiplied with is smaller.

    They are features before the head; of a transformer, whose features are normalised, values before they are mixed.
    """
    harmed = copy.deepcopy(student)
    linear = {name: module for name, module in harmed.named_modules() if isinstance(module, nn.Linear)}
    mixed = next((name for name in linear if name.endswith(".mixed")), None)
    if mixed is None:
        before, after = list(linear.values())[-2:]
    else:
        before, after = linear[mixed.replace(".mixed", ".values")], linear[mixed]
    with torch.no_grad():
        before.weight[:_OUTLYING] *= outlier
        before.bias[:_OUTLYING] *= outlier
        after.weight[:, :_OUTLYING] /= outlier
    return harmed


def _trial(kind: str, seed: int, harm: str, student: Student) -> Trial:
    rows, codes = rows_of(SIGNATURES[kind], 3 * _GATE_ROWS + _HELD_OUT_ROWS, 1000 + seed)
    calibration, test, others, held_out = np.split(rows, [_GATE_ROWS, 2 * _GATE_ROWS, 3 * _GATE_ROWS])
    labels, held_out_labels = codes[_GATE_ROWS : 2 * _GATE_ROWS], codes[3 * _GATE_ROWS :]
    if harm.startswith("one"):
        calibration = np.zeros_like(calibration[:1]) + calibration.dtype.type(calibration.mean())
    with tempfile.TemporaryDirectory(prefix="kdaif-gate-") as name:
        file = Path(name) / "model.onnx"
        export_onnx(student, file, CLASSES)
        parts = GateRows(calibration, test, labels, others, checked_rows(student, test)[0])
        fp32, int8 = make_variants(file, parts, CLASSES, _OPEN)
        if fp32.figures is None or int8.figures is None:
            raise AssertionError(f"the int8 file cannot be judged: {int8.reason}")
        before, after = (_classes_said(file.with_name(each.file), held_out) for each in (fp32, int8))
    agreement = float((before == after).mean())
    return Trial(
        kind,
        harm,
        shipped=not faults(int8.figures, fp32.figures, _GATE),
        bad=agreement < _GATE.min_agreement
        or _worst_drop_points(before, after, held_out_labels) > _GATE.max_class_drop_points,
        agreement=agreement,
    )


def _classes_said(file: Path, rows: NDArray[Any]) -> NDArray[np.int64]:
    (logits,) = open_session(file).run(["logits"], {"input": rows})
    said: NDArray[np.int64] = logits.argmax(axis=1)
    return said


def _worst_drop_points(before: NDArray[np.int64], after: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    drops = []
    for code in range(len(CLASSES)):
        own = labels == code
        drops.append(100 * float((before[own] == code).mean() - (after[own] == code).mean()))
    return max(drops)
