"""The two questions a row's weight answers, each as log-odds: does it help, and is its pseudo-label right?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CLIP = 4.0
_KNOWN_LABELS_KEPT = 0.8


def influence_z(
    influence: NDArray[np.floating], stderr: NDArray[np.floating], reliability: float
) -> NDArray[np.float64]:
    """sqrt(R) clip(-influence / stderr, -4, 4), `[N]`: how surely the row helps, in standard errors of V.

    Its own standard error is the yardstick, so an influence that is luck of V stays near 0; and zero stays zero, since
    the sign carries meaning. R = 2 r / (1 + r) is the reliability of the whole of V (Spearman and Brown 1910): where
    two halves of V do not rank the rows alike, influence has no say. Without a standard error (one block) all are 0.

    Args:
        influence: `[N]`.
        stderr: of it, `[N]`.
        reliability: r, the rank correlation of the influences of two halves of V.
    """
    values = np.asarray(influence, dtype=np.float64)
    spread = np.asarray(stderr, dtype=np.float64)
    ratio = np.divide(-values, spread, out=np.zeros_like(values), where=spread > 0)
    whole = 2.0 * reliability / (1.0 + reliability) if reliability > 0 else 0.0
    z: NDArray[np.float64] = np.sqrt(whole) * np.clip(ratio, -_CLIP, _CLIP)
    return z


def agreement_z(
    agreement: NDArray[np.floating], of_known_labels: NDArray[np.floating], known_classes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The student's logit of each pseudo-label, `[N]`, from where it would keep 8 in 10 labels known to be right.

    A student that is sure of little would call every pseudo-label wrong. What it thinks of true labels that it was not
    taught, those of V, says how much confidence can be asked for: their 20 % quantile, or even odds where that is
    lower. Each class has the same say in the quantile, so a class that is rare and hard is not called wrong for it.

    Args:
        agreement: logit of the student's probability of the pseudo-label, `[N]`.
        of_known_labels: the same of the true labels of V, `[M]`; empty asks for even odds.
        known_classes: class codes of V, `[M]`.
    """
    values = np.clip(np.asarray(agreement, dtype=np.float64), -_CLIP, _CLIP)
    if len(of_known_labels) == 0:
        return values
    known = np.clip(np.asarray(of_known_labels, dtype=np.float64), -_CLIP, _CLIP)
    shares = 1.0 / np.bincount(known_classes)[known_classes]
    order = np.argsort(known, kind="stable")
    passed = np.cumsum(shares[order]) / shares.sum()
    at = min(int(np.searchsorted(passed, 1.0 - _KNOWN_LABELS_KEPT)), len(known) - 1)
    return values - min(float(known[order][at]), 0.0)
