"""How long one row takes, measured the same way wherever it is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kdaif.export.interface import ANSWER_NAMES, INPUT_NAME

_WARM_UP_CALLS = 20
_MOST_TIMED_CALLS = 500
_TIMED_NS = 1_000_000_000


def open_session(file: Path) -> onnxruntime.InferenceSession:
    """A session on one CPU thread that sleeps instead of spinning while it waits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])


def ms_per_row(file: Path, one_row: NDArray[Any]) -> float:
    """Median milliseconds of one raw row `[1, ...]` at batch 1, on one thread of onnxruntime."""
    return median_ms(one_row_call(open_session(file), one_row))


def one_row_call(session: onnxruntime.InferenceSession, one_row: NDArray[Any]) -> Callable[[], object]:
    """One run of a raw row `[1, ...]`, outputs by name as the client asks: to look all names up takes 5 % longer."""
    names, feed = list(ANSWER_NAMES), {INPUT_NAME: np.ascontiguousarray(one_row)}
    return lambda: session.run(names, feed)


def median_ms(call: Callable[[], object]) -> float:
    """Median milliseconds of a call, warm."""
    return medians_ms([call])[0]


def medians_ms(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Median milliseconds of each call. They take turns, so that what else the machine does falls on all alike.

    The order of each round is drawn anew: who comes after a call that sweeps the caches would pay for it every time.
    """
    for call in calls:
        for _ in range(_WARM_UP_CALLS):
            call()
    turns = np.random.default_rng(0)
    began = perf_counter_ns()
    times: list[list[int]] = [[] for _ in calls]
    while not times[0] or (len(times[0]) < _MOST_TIMED_CALLS and perf_counter_ns() - began < _TIMED_NS * len(calls)):
        for place in turns.permutation(len(calls)):
            start = perf_counter_ns()
            calls[place]()
            times[place].append(perf_counter_ns() - start)
    return [median(taken) / 1e6 for taken in times]
