"""How far a teacher that says how sure it is can be taken at its word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

_MOST_SURE = 4.0
_LEAST_SURE_SHARE = 0.05
_MOST_LOG_ODDS = 8.0


def sureness_of(label_logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """The logit of the teacher's probability of its own pseudo-label, clipped to -4..4, `[N]`."""
    return np.clip(np.asarray(label_logits, dtype=np.float64), -_MOST_SURE, _MOST_SURE)


def log_likelihood_ratio(
    agreement: NDArray[np.floating], of_known_rows: NDArray[np.floating], known_classes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Log p(agreement | the label is right) / p(agreement | it is wrong), `[N]`, as rows of known label show it.

    A line through the student's logits, by logistic regression: of each row of V its own class is a right label, and
    every other a wrong one. So a student that is often wrong, or too sure of itself, has little to say against a label.
    Each class has the same say, and so have right and wrong labels. Targets are Platt's (1999), which keep the line
    finite where V is told apart without fault.

    Args:
        agreement: the student's logit of each pseudo-label, `[N]`.
        of_known_rows: its logits of every class of each row of V, `[M, C]`.
        known_classes: class codes of V, `[M]`.
    """
    known = np.asarray(of_known_rows, dtype=np.float64)
    n_rows, n_classes = known.shape
    right = np.zeros(known.shape)
    right[np.arange(n_rows), known_classes] = 1.0
    of_row = 1.0 / np.bincount(known_classes)[known_classes]
    of_row = (of_row * n_rows / of_row.sum())[:, None]
    say = np.where(right > 0, of_row, of_row / (n_classes - 1)).ravel()
    least = 1.0 / (n_rows + 2.0)
    wanted, x = np.clip(right.ravel(), least, 1.0 - least), known.ravel()

    def cost(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = line[0] + line[1] * x
        excess = say * (expit(z) - wanted)
        return float((say * (np.logaddexp(0.0, z) - wanted * z)).sum()), np.array([excess.sum(), excess @ x])

    bounds = [(None, None), (0.0, None)]
    offset, slope = minimize(cost, np.array([0.0, 0.5]), jac=True, method="L-BFGS-B", bounds=bounds).x
    found: NDArray[np.float64] = offset + slope * np.asarray(agreement, dtype=np.float64)
    return found


def trust_slope(log_ratio: NDArray[np.float64], sureness: NDArray[np.float64]) -> float:
    """By how much, 0..1, the log-odds of a pseudo-label being right rise with the teacher's own.

    1 is a teacher whose probabilities are what they say, 0 one whose sureness tells nothing, as that of labels in a
    column; where labels were swapped afterwards it lies between. By maximum likelihood of what the student says of
    each row, which comes from a right label with probability expit(a + b sureness), and else from a wrong one.

    Args:
        log_ratio: of what the student says of each row, `[N]`: `log_likelihood_ratio`.
        sureness: of the teacher, `[N]`.
    """
    if len(sureness) == 0 or float(np.ptp(sureness)) < 1e-3:
        return 0.0
    x = sureness - sureness.mean()
    ratio = np.clip(log_ratio, -30.0, 30.0)

    def cost(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = line[0] + line[1] * x
        # log(p ratio + 1 - p) with p = expit(z)
        likelihood = np.logaddexp(z + ratio, 0.0) - np.logaddexp(z, 0.0)
        slack = expit(z) - expit(z + ratio)
        return -float(likelihood.mean()), np.array([slack.mean(), float((slack * x).mean())])

    bounds = [(-_MOST_LOG_ODDS, _MOST_LOG_ODDS), (0.0, 1.0)]
    return float(minimize(cost, np.array([0.0, 0.2]), jac=True, method="L-BFGS-B", bounds=bounds).x[1])


def least_sureness(sureness: NDArray[np.float64]) -> float:
    """Where trust begins: the 5 % quantile. A teacher that is as sure of every row is trusted with none more."""
    return float(np.quantile(sureness, _LEAST_SURE_SHARE))
