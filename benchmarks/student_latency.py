"""Latency of every preset: our file beside a hand-made export by bare onnxruntime, and beside eager torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
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
    """Median milliseconds of one row at batch 1 on one thread, of one preset.

    The calls took turns, and each session was opened first once: where the memory of one comes to lie makes some
    3 % of a difference between two of the same file. ``again_ms`` is our own file once more, as if it were
    a rival: its ratio to ``ours_ms`` is what the measurement itself is worth. ``handmade_ms`` is called as
    onnxruntime's documentation has it, ``run(None, ...)``; ``handmade_by_name_ms`` with the names of the outputs, as
    we call ours.
    """

    preset: str
    ours_ms: float
    again_ms: float
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
        "fp32_ratio_to_itself_max": max(each.ours_ms / each.again_ms for each in found),
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
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                eager_ms = median_ms(lambda: torch.softmax(student(tensor), dim=1))
                taken = [_taken(*files, one_row, first) for first in range(4)]
        finally:
            torch.set_num_threads(threads)
    ours_ms, again_ms, handmade_ms, by_name_ms = (median(times) for times in zip(*taken, strict=True))
    return Latency(repr(network), ours_ms, again_ms, handmade_ms, by_name_ms, eager_ms)


def _taken(ours: Path, handmade: Path, one_row: NDArray[Any], first: int) -> list[float]:
    """Milliseconds of our file, of ours again, of the other, and of the other by name.

    Each has a session of its own, ``first`` is opened first: one that is called twice a turn finds its weights in the
    processor's cache.
    """
    opened = {place % 4: _opened(ours, handmade, place % 4) for place in range(first, first + 4)}
    rival = opened[2]
    return medians_ms(
        [
            one_row_call(opened[0], one_row),
            one_row_call(opened[1], one_row),
            lambda: rival.run(None, {INPUT_NAME: one_row}),
            one_row_call(opened[3], one_row),
        ]
    )


def _opened(ours: Path, handmade: Path, place: int) -> onnxruntime.InferenceSession:
    return open_session(ours) if place < 2 else _bare_session(handmade)


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
