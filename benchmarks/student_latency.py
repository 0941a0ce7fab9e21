"""Latency of every preset: our file beside a hand-made export by bare onnxruntime, and beside eager torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.student_rows import CLASSES, SIGNATURES, rows_of
from kdaif.datasets import InputSignature
from kdaif.export import INPUT_NAME, OUTPUT_NAMES, export_onnx
from kdaif.export.timing import median_ms, medians_ms, one_row_call, open_session
from kdaif.records import Network, ladder
from kdaif.students import Student, build_student

_ROWS = 256


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one row at batch 1 on one thread, of one preset; the files took turns.

    ``handmade_ms`` is called as onnxruntime's documentation has it, ``run(None, ...)``; ``handmade_by_name_ms`` with
    the names of the outputs, as we call ours.
    """

    preset: str
    ours_ms: float
    handmade_ms: float
    handmade_by_name_ms: float
    eager_ms: float


def latencies(kinds: Sequence[str] = tuple(SIGNATURES)) -> list[Latency]:
    """Of every network that `Auto` chooses from."""
    return [_latency(network, SIGNATURES[kind]) for kind in kinds for network in ladder(SIGNATURES[kind].kind)]


def figures(found: Sequence[Latency]) -> dict[str, float]:
    """The figures of `edge.json`."""
    speedups = [latency.eager_ms / latency.ours_ms for latency in found]
    return {
        "fp32_ratio_to_handmade_max": max(latency.ours_ms / latency.handmade_ms for latency in found),
        "fp32_ratio_to_handmade_by_name_max": max(each.ours_ms / each.handmade_by_name_ms for each in found),
        "fp32_ratio_to_handmade_mean": float(np.mean([latency.ours_ms / latency.handmade_ms for latency in found])),
        "eager_speedup_min": min(speedups),
        "eager_speedup_max": max(speedups),
        "presets": float(len(found)),
    }


def _latency(network: Network, signature: InputSignature) -> Latency:
    rows, _ = rows_of(signature, _ROWS, 0)
    student = build_student(network, signature, len(CLASSES), rows, seed=0).eval()
    one_row, tensor = np.ascontiguousarray(rows[:1]), torch.from_numpy(rows[:1].copy())
    with tempfile.TemporaryDirectory(prefix="kdaif-latency-") as name:
        files = Path(name) / "ours.onnx", Path(name) / "handmade.onnx"
        export_onnx(student, files[0], CLASSES)
        _export_by_hand(student, files[1], torch.from_numpy(rows[:2].copy()))
        ours, handmade = open_session(files[0]), _bare_session(files[1])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                eager_ms = median_ms(lambda: torch.softmax(student(tensor), dim=1))
                ours_ms, handmade_ms, by_name_ms = medians_ms(
                    [
                        one_row_call(ours, one_row),
                        lambda: handmade.run(None, {INPUT_NAME: one_row}),
                        one_row_call(handmade, one_row),
                    ]
                )
        finally:
            torch.set_num_threads(threads)
    return Latency(repr(network), ours_ms, handmade_ms, by_name_ms, eager_ms)


class _Outputs(nn.Module):
    """What the file answers, so that both files do the same work."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.student(rows)
        return logits, torch.softmax(logits, dim=1)


def _export_by_hand(student: Student, file: Path, example: Tensor) -> None:
    """As the documentation of torch has it, with nothing done to the file afterwards."""
    program = torch.onnx.export(
        _Outputs(student).eval(),
        (example,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT_NAME],
        output_names=list(OUTPUT_NAMES),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    if program is None:
        raise AssertionError("torch.onnx.export returned no program")
    program.save(file)


def _bare_session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
