"""Is the canary better? A test that may be looked at after every outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

_HALVINGS = 60


@dataclass(frozen=True)
class Outcomes:
    """What devices reported of one student: predictions whose truth became known, and how many of them were right."""

    right: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total:
            raise ValueError(f"{self.right} of {self.total} outcomes are right")

    @property
    def accuracy(self) -> float | None:
        """None before the first outcome."""
        return self.right / self.total if self.total else None


class Decision(StrEnum):
    """What the outcomes say."""

    PROMOTE = "PROMOTE"
    ROLL_BACK = "ROLL_BACK"
    GO_ON = "GO_ON"


@dataclass(frozen=True)
class Verdict:
    """The decision, and the confidence sequence of accuracy of the canary less that of the champion."""

    decision: Decision
    low: float
    high: float


def judge(champion: Outcomes, canary: Outcomes, *, error: float = 0.05) -> Verdict:
    """Promotes a canary that is better, rolls back one that is worse, and otherwise goes on.

    Peeking is fair: the probability that the interval ever leaves out the true difference is at most ``error``, however
    often it is looked at and whenever the looking stops.

    Args:
        champion: outcomes since the rollout began.
        canary: the same, of other devices.
        error: probability of a wrong decision at any time, 0 to 1.
    """
    low_champion, high_champion = confidence_sequence(champion, error / 2)
    low_canary, high_canary = confidence_sequence(canary, error / 2)
    low, high = low_canary - high_champion, high_canary - low_champion
    decision = Decision.PROMOTE if low > 0 else Decision.ROLL_BACK if high < 0 else Decision.GO_ON
    return Verdict(decision, low, high)


def confidence_sequence(outcomes: Outcomes, error: float) -> tuple[float, float]:
    """An interval of the true accuracy that holds at all times at once with probability 1 - ``error``.

    All p with B(1 + s, 1 + f) / (p^s (1 - p)^f) < 1 / error, for s right and f wrong: the left side is the likelihood
    ratio of a uniform prior to p, a martingale of mean 1 under p (Ville 1939; Robbins 1970; Howard et al. 2021).

    Args:
        outcomes: so far.
        error: above 0.
    """
    right, wrong = outcomes.right, outcomes.total - outcomes.right
    if outcomes.total == 0:
        return 0.0, 1.0
    bound = -math.log(error) - (math.lgamma(1 + right) + math.lgamma(1 + wrong) - math.lgamma(2 + outcomes.total))

    def is_inside(p: float) -> bool:
        return -(_times_log(right, p) + _times_log(wrong, 1 - p)) < bound

    peak = right / outcomes.total
    low = 0.0 if is_inside(0.0) else _edge(is_inside, 0.0, peak)
    high = 1.0 if is_inside(1.0) else _edge(is_inside, 1.0, peak)
    return low, high


def _times_log(count: int, p: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(p) if p > 0 else -math.inf


def _edge(is_inside: Callable[[float], bool], outside: float, inside: float) -> float:
    """By halving; the bound on the safe side."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if is_inside(middle):
            inside = middle
        else:
            outside = middle
    return outside
