"""How far to go from uniform weights: judged on labelled rows that chose nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.weighting.weights import effective_sample_size

_STEPS = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Gate:
    """Its decision and why.

    Attributes:
        step: n in {0, .25, .5, 1}; the weights used are (1 - n) + n w.
        gain: predicted fall of the mean loss on the gate set for the full step.
        stderr: standard error of `gain` over the rows of the gate set.
        effective_sample_size: of the weights at `step`, in rows.
    """

    step: float
    gain: float
    stderr: float
    effective_sample_size: float


def trust_region(weights: NDArray[np.float64], changes: NDArray[np.float64], *, was_open: bool = False) -> Gate:
    """The largest step whose predicted gain is positive at one standard error and that keeps half the rows effective.

    The prediction is of first order, so gain and standard error shrink alike with the step: whether the gain is
    believed is one question for all steps, and the effective sample size chooses among them.

    Closing takes as much evidence as opening: once weights are in use, the gate shuts only when a loss is believed
    at one standard error. A gate that flaps trains whole rounds on the very targets it had found to be wrong
    (Fashion-MNIST, 40 % swapped targets, four splits: accuracy .675, and .709 with this rule).

    Args:
        weights: proposed, mean 1, `[N]`.
        changes: predicted change of each gate row's loss at the full step, `[M]`; negative is a gain.
        was_open: weights were in use before.
    """
    gain = -float(changes.mean()) if len(changes) else 0.0
    stderr = float(changes.std(ddof=1) / np.sqrt(len(changes))) if len(changes) > 1 else float("inf")
    step = 0.0
    believed = gain + stderr > 0 if was_open else gain - stderr > 0
    if believed and np.isfinite(stderr):
        fitting = (n for n in _STEPS if effective_sample_size(1.0 - n + n * weights) >= len(weights) / 2)
        step = next(fitting, 0.0)
    return Gate(step, gain, stderr, effective_sample_size(1.0 - step + step * weights))
