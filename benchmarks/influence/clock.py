"""One method in this process: CPU seconds and peak memory of a first and of a second call.

``python -m benchmarks.influence.clock METHOD NET --steps 10 --folder DIR`` prints one JSON line and leaves the scores
in the folder. It runs in either environment.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.influence.work import DAMPING, Work, load_work

Scores: TypeAlias = NDArray[np.float32]
Method: TypeAlias = Callable[[Work, int], Scores]
"""The work and how many steps, to -g^T (G + d I)^-1 grad l_i of every training row, up to a positive factor, `[N]`."""

_METHODS = {
    "captum": "captum_rival",
    "curvlinops": "curvlinops_rival",
    "dattri": "dattri_rival",
    "kronfluence": "kronfluence_rival",
    "pydvl": "pydvl_rival",
    "kdaif": "ours",
}
_TOO_LONG_TO_REPEAT_S = 20.0  # a first call costs at most two seconds more than a second one


def main() -> None:
    """Loads everything, then measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", help="such as kdaif/cg")
    parser.add_argument("net", choices=DAMPING)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    library, _, kind = arguments.method.partition("/")
    methods: dict[str, Method] = importlib.import_module(f"benchmarks.influence.{_METHODS[library]}").METHODS
    method, work = methods[kind], load_work(arguments.folder, arguments.net)
    scores, cold_s, peak_mib = measured(lambda: method(work, arguments.steps))
    warm_s = cold_s
    if cold_s < _TOO_LONG_TO_REPEAT_S:
        scores, warm_s, _ = measured(lambda: method(work, arguments.steps))
    np.save(arguments.folder / f"scores_{library}_{kind}_{arguments.net}_{arguments.steps}.npy", scores)
    print(json.dumps({"cold_s": cold_s, "warm_s": warm_s, "peak_mib": peak_mib}))


def measured(call: Callable[[], Scores]) -> tuple[Scores, float, float]:
    """The scores, CPU seconds of all threads, and the peak of resident memory over what was resident before, in MiB."""
    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    began = time.process_time()
    scores = call()
    return scores, time.process_time() - began, _resident_mib("VmHWM") - before


def _resident_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


if __name__ == "__main__":
    main()
