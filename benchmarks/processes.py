"""How far the student of two processes lies from that of one: a job on digits, twice, each in a stack of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from kdaif_client import Client, Mlp, TrainedTeacher, Training
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.datasets import load_digits

from examples.local_stack import local_stack

_VARIABLE = "KDAIF_PROCESSES_PER_JOB"
_MOST_S = 600.0


def measured(folder: Path) -> dict[str, float]:
    """``max_abs``, the largest difference of a parameter, and seconds of the clock with one process and with two."""
    seconds, parameters = [], []
    for processes in (1, 2):
        started = time.monotonic()
        parameters.append(_parameters(folder / str(processes), processes))
        seconds.append(time.monotonic() - started)
    one, two = parameters
    apart = max(float(np.abs(values.astype(np.float64) - two[name]).max(initial=0.0)) for name, values in one.items())
    return {"max_abs": apart, "one_s": round(seconds[0], 1), "two_s": round(seconds[1], 1)}


def _parameters(folder: Path, processes: int) -> Mapping[str, NDArray[Any]]:
    folder.mkdir()
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(processes)  # the stack's worker is told by its environment
    try:
        with local_stack(folder / "stack") as target, Client(target) as kdaif:
            features, labels = load_digits(return_X_y=True)
            features = features.astype(np.float32) / 16
            job = kdaif.submit(
                kdaif.upload_dataset(features[:500], name="labeled", y=labels[:500]),
                kdaif.upload_dataset(features[500:1300], name="pool"),
                teacher=TrainedTeacher(Mlp((32,)), epochs=5),
                student=Mlp((32,)),
                training=Training(rounds=3, epochs_per_round=1, seeds=1),
            )
            job.wait(timeout_s=_MOST_S)
            job.download_student(folder / "student")
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
    graph = onnx.load(folder / "student" / "model.onnx").graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}
