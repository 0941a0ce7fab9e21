"""How far confidence and accuracy lie apart, and the one number that brings them together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from kdaif.records import Calibration

BINS = 15
_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures beyond these say that the rows cannot tell
_NEWTON_STEPS = 100
_CLOSE = 1e-10


def expected_calibration_error(labels: NDArray[Any], logits: NDArray[Any], *, temperature: float = 1.0) -> float:
    """Expected calibration error of the most likely class, with bins of equally many rows.

    Sum over 15 bins of ``share of the rows * |accuracy - mean confidence|`` (Naeini et al. 2015, Guo et al. 2017), the
    bins cut at quantiles of the confidence (Nguyen and O'Connor 2015), since equal-width bins leave most of a confident
    student's rows in one. Rows of equal confidence share a bin, so the order of the rows does not matter; with under 15
    rows there are as many bins as rows at most. Few rows per bin bias it upwards: chance alone makes a gap.

    Args:
        labels: int ``[N]``, N above 0.
        logits: float ``[N, C]``.
        temperature: divides the logits before the softmax.

    Returns:
        0 to 1.
    """
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    confidence = probabilities.max(axis=1)
    # By the logits, which the temperature does not reorder: very sharp probabilities tie at 1.
    gap = (logits.argmax(axis=1) == labels) - confidence
    edges = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = np.searchsorted(edges, confidence, side="left")
    return float(np.abs(np.bincount(bins, weights=gap)).sum() / len(labels))


def fit_temperature(labels: NDArray[Any], logits: NDArray[Any]) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017), by Newton's method on its inverse b.

    The NLL of ``softmax(b z)`` is convex in b, with gradient ``mean(E_p z - E_y z)`` and second derivative
    ``mean(Var_p z)``. Where every row is right it has no minimum: b would grow without end, on however few rows. So
    the targets are smoothed by ``1 / (N + 1)``, spread evenly over the classes, as Platt (1999) does for two classes: N
    rows all right speak for an error rate of about one in N, not of none.

    Args:
        labels: int ``[N]``; 1 is the answer for no rows.
        logits: float ``[N, C]``.

    Returns:
        The temperature, within .05 to 20.
    """
    if len(labels) == 0:
        return 1.0
    z = logits.astype(np.float64)
    z = z - z.mean(axis=1, keepdims=True)
    # The target's mean of z: that of an even spread is 0.
    wanted = z[np.arange(len(z)), labels] * len(z) / (len(z) + 1)
    low, high, b = 1 / _HOTTEST, 1 / _COLDEST, 1.0
    for _ in range(_NEWTON_STEPS):
        probabilities = softmax(b * z, axis=1)
        mean = (probabilities * z).sum(axis=1)
        gradient = float(np.mean(mean - wanted))
        curvature = float(np.mean((probabilities * z**2).sum(axis=1) - mean**2))
        # The bracket holds the minimum; a Newton step that would leave it is a bisection instead.
        low, high = (low, b) if gradient > 0 else (b, high)
        step = b - gradient / curvature if curvature > 0 else b
        following = step if low < step < high else (low + high) / 2
        if abs(following - b) < _CLOSE:
            break
        b = following
    return 1 / b


def calibrate(
    gate_logits: NDArray[Any], gate_labels: NDArray[Any], test_logits: NDArray[Any], test_labels: NDArray[Any]
) -> Calibration:
    """Fits the temperature on the gate rows and measures on the test rows, which have no say in it.

    It stays 1 unless the gate rows' mean NLL falls by more than one standard error of the mean: on few rows a fit
    follows the one or two that are surely wrong (digits, 39 gate rows: T = 1.47 took the ECE from .02 to .07).

    Args:
        gate_logits: float ``[M, C]`` of the shipped student; ``gate_labels`` int ``[M]``.
        gate_labels: human labels.
        test_logits: float ``[N, C]`` of the shipped student; ``test_labels`` int ``[N]``, N above 0.
        test_labels: human labels.
    """
    fitted = fit_temperature(gate_labels, gate_logits)
    temperature = fitted if _clearly_better(gate_labels, gate_logits, fitted) else 1.0
    return Calibration(
        temperature=temperature,
        gate_rows=len(gate_labels),
        ece_before=expected_calibration_error(test_labels, test_logits),
        ece_after=expected_calibration_error(test_labels, test_logits, temperature=temperature),
    )


def _clearly_better(labels: NDArray[Any], logits: NDArray[Any], temperature: float) -> bool:
    if len(labels) < 2:
        return False
    rows, z = np.arange(len(labels)), logits.astype(np.float64)
    gains = log_softmax(z / temperature, axis=1)[rows, labels] - log_softmax(z, axis=1)[rows, labels]
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))
