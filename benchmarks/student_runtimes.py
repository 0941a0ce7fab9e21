"""The largest network of each ladder in Python, in Node and in the browser: how far their answers lie apart."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.runtimes import Case, largest_difference, outputs_of
from benchmarks.student_rows import CLASSES, SIGNATURES, rows_of
from kdaif.export import export_onnx
from kdaif.records import ladder
from kdaif.students import build_student

_ROWS = 64


def figures() -> dict[str, float]:
    """``runtimes_max_abs``, over logits and probabilities, and the same of each runtime."""
    with tempfile.TemporaryDirectory(prefix="kdaif-runtimes-") as name:
        folder = Path(name)
        cases = []
        for kind, signature in SIGNATURES.items():
            rows, _ = rows_of(signature, _ROWS, 0)
            student = build_student(ladder(signature.kind)[-1], signature, len(CLASSES), rows, seed=0)
            file = folder / f"{kind}-student.onnx"
            export_onnx(student, file, CLASSES)
            cases.append(Case(kind, file, rows))
        found = largest_difference(outputs_of(cases, folder))
    return {
        "runtimes_max_abs": max(found.values()),
        **{f"{runtime.replace('-', '_')}_max_abs": difference for runtime, difference in found.items()},
    }
