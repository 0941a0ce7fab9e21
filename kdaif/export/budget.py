"""The largest network that a student's budget allows, found by exporting and timing each."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets import InputSignature
from kdaif.datasets.feasible import SMALLEST_SHARE
from kdaif.errors import InvalidInputError
from kdaif.export.onnx_file import export_onnx
from kdaif.export.timing import ms_per_row
from kdaif.records import Auto, Export, Network
from kdaif.students import Student, build_student, ladder

_FIELD = "spec.student.auto"


@dataclass(frozen=True)
class Fitted:
    """A network and what it costs: kilobytes (1,000 bytes) of its file, and median milliseconds of one row."""

    network: Network
    size_kb: float
    ms_per_row: float


def largest_within(budget: Auto, signature: InputSignature, n_classes: int, reference: NDArray[np.generic]) -> Fitted:
    """The network of `kdaif.students.ladder` with the most parameters whose file and time are within the budget.

    Neither depends on what is trained, so each is measured as it is drawn. Milliseconds are of this machine, one row
    at a time on one thread of onnxruntime.

    Args:
        budget: its bounds; where both are None the largest of all.
        signature: of the rows.
        n_classes: C.
        reference: raw rows, as of `build_student`; the first is timed.

    Raises:
        InvalidInputError: not even the smallest fits; names its figures.
    """
    students = [
        (network, build_student(network, signature, n_classes, reference, seed=0)) for network in ladder(signature.kind)
    ]
    students.sort(key=lambda pair: _parameters(pair[1]), reverse=True)
    smallest = students[-1][0]
    for network, student in students:
        too_large = budget.max_kb is not None and SMALLEST_SHARE * 4 * _parameters(student) > 1000 * budget.max_kb
        if too_large and network is not smallest:
            continue
        found = _measured(network, student, n_classes, reference)
        if _fits(found, budget):
            return found
    raise InvalidInputError.of(
        _FIELD,
        f"no network fits {_told(budget)}: the smallest, {found.network!r}, has a file of {found.size_kb:.1f} kB and "
        f"takes {found.ms_per_row:.3f} ms for a row; raise the bounds",
    )


def require_within(
    network: Network,
    export: Export,
    signature: InputSignature,
    n_classes: int,
    reference: NDArray[np.generic],
) -> None:
    """Holds a network that somebody named to the budget of ``spec.export``, before anything is trained.

    Args:
        network: as named.
        export: ``max_kb`` and ``max_ms``; without either nothing is measured.
        signature: of the rows.
        n_classes: C.
        reference: as of `largest_within`.

    Raises:
        InvalidInputError: its file is too large or too slow; names its figures, and the network that would fit.
    """
    budget = Auto(max_kb=export.max_kb, max_ms=export.max_ms)
    if budget == Auto():
        return
    found = _measured(network, build_student(network, signature, n_classes, reference, seed=0), n_classes, reference)
    if _fits(found, budget):
        return
    try:
        other = largest_within(budget, signature, n_classes, reference)
        advice = (
            f"{other.network!r} would fit, with {other.size_kb:.1f} kB and {other.ms_per_row:.3f} ms; name it, raise "
            "the bounds, or give them to Auto, which takes the largest that fits"
        )
    except InvalidInputError as error:
        advice = error.violations[0].description
    raise InvalidInputError.of(
        "spec.export",
        f"{network!r} has a file of {found.size_kb:.1f} kB and takes {found.ms_per_row:.3f} ms for a row, over "
        f"{_told(budget)}: {advice}",
    )


def _parameters(student: Student) -> int:
    return sum(parameter.numel() for parameter in student.parameters())


def _measured(network: Network, student: Student, n_classes: int, reference: NDArray[np.generic]) -> Fitted:
    with tempfile.TemporaryDirectory(prefix="kdaif-budget-") as folder:
        file = Path(folder) / "student.onnx"
        export_onnx(student, file, [str(code) for code in range(n_classes)])
        return Fitted(network, file.stat().st_size / 1000, ms_per_row(file, reference[:1]))


def _fits(found: Fitted, budget: Auto) -> bool:
    fits_kb = budget.max_kb is None or found.size_kb <= budget.max_kb
    return fits_kb and (budget.max_ms is None or found.ms_per_row <= budget.max_ms)


def _told(budget: Auto) -> str:
    bounds = {"kB": budget.max_kb, "ms": budget.max_ms}
    return " and ".join(f"{bound:g} {unit}" for unit, bound in bounds.items() if bound is not None)
