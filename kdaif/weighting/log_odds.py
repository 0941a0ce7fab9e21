"""The parts of a row's log-odds of being worth its weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CLIP = 4.0
_LEAST_RELIABILITY = 0.1


def influence_z(influence: NDArray[np.floating]) -> NDArray[np.float64]:
    """clip(-influence / MAD, -4, 4), `[N]`: centred at zero and not at the median, since the sign carries meaning.

    The median absolute deviation is not stretched by outliers, as a minimum-maximum scaling would be. Influence that is
    constant tells no row from another: all zeros.
    """
    values = np.asarray(influence, dtype=np.float64)
    deviation = float(np.median(np.abs(values - np.median(values))))
    if deviation <= 1e-12 * float(np.abs(values).max(initial=0.0)):
        return np.zeros_like(values)
    return np.clip(-values / deviation, -_CLIP, _CLIP)


def agreement_z(log_p: NDArray[np.floating]) -> NDArray[np.float64]:
    """clip(logit p, -4, 4), `[N]`, of the student's probability of the pseudo-label, given as log p."""
    values = np.asarray(log_p, dtype=np.float64)
    not_p = -np.expm1(np.minimum(values, -1e-12))
    return np.clip(values - np.log(not_p), -_CLIP, _CLIP)


def influence_share(reliability: float) -> float:
    """How much of the log-odds is influence: a = 1/2 * 2r / (1 + r), with r the split-half rank correlation.

    2r / (1 + r) is the reliability of the whole score set (Spearman and Brown 1910); half at most, since agreement is
    the better detector of wrong labels. Below r = 0.1 influence is noise, and dropped.
    """
    if not reliability >= _LEAST_RELIABILITY:
        return 0.0
    return reliability / (1.0 + reliability)


def combine(z_influence: NDArray[np.float64], z_agreement: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Sum of the parts: s = a z_influence + (1 - a) z_agreement, `[N]`."""
    return share * z_influence + (1.0 - share) * z_agreement


def smooth(previous: NDArray[np.float64] | None, new: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Smooths over rounds: s <- e s + (1 - e) s_new, `[N]`; the first round has nothing to smooth with."""
    return new if previous is None else smoothing * previous + (1.0 - smoothing) * new
