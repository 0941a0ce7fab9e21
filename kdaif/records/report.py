"""What a finished job found: the arms, side by side."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmResult:
    """One way of training the student, on the same rows, steps and seeds as the others; figures on the test rows."""

    arm: str
    accuracy: float
    macro_f1: float
    accuracy_per_seed: tuple[float, ...]
    accuracy_minus_uniform: float | None = None
    p_value: float | None = None
    size_kb: float | None = None
    ms_per_row: float | None = None


@dataclass(frozen=True)
class JobResult:
    """The summary that the job record carries; the bundle of ``attempt`` holds the whole report."""

    attempt: int
    arms: tuple[ArmResult, ...]
    verdict: str
    seconds: float
