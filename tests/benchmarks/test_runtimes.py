"""Every architecture gives the same answers in Python, in Node and in the browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.runtimes import RUNTIMES, Case, MissingRuntimeError, largest_difference, outputs_of
from kdaif.export import export_onnx
from kdaif.students import build_student
from tests.kdaif.inputs import ARCHITECTURES, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

WITHIN = 1e-5


def test_the_same_file_gives_the_same_answers_in_three_runtimes(tmp_path: Path) -> None:
    cases = []
    for name, (network, signature) in ARCHITECTURES.items():
        student = build_student(network, signature, 3, rows_of(signature, 50), seed=1)
        file = tmp_path / f"{name}.onnx"
        export_onnx(student, file, ("x", "y", "z"), temperature=1.5)
        cases.append(Case(name, file, rows_of(signature, 21, seed=2)))
    place = tmp_path / "npm"
    place.mkdir()
    try:
        outputs = outputs_of(cases, place)
    except MissingRuntimeError as error:
        pytest.skip(str(error))
    assert all(set(outputs[runtime]) == set(ARCHITECTURES) for runtime in RUNTIMES)
    differences = largest_difference(outputs)
    assert max(differences.values()) <= WITHIN, differences


def test_a_difference_is_seen() -> None:
    said = {"x": np.zeros((2, 4), np.float32)}
    other = {"x": np.full((2, 4), 0.5, np.float32)}
    outputs = {"python": said, "onnxruntime-node": said, "onnxruntime-web": other}
    assert largest_difference(outputs) == {"onnxruntime-node": 0.0, "onnxruntime-web": 0.5}
