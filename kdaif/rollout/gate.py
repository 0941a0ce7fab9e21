"""May a student take the champion's place? Both on the same test rows, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.01
"""What a candidate may lose in accuracy unless somebody says otherwise: one point."""

_Z_ONE_SIDED = 1.644854  # of 95 %
_FEWEST_GROUP_ROWS = 30
_HALVINGS = 60


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the candidate less that of the champion on the same rows. ``low`` is a one-sided 95 % bound."""

    rows: int
    difference: float
    low: float


@dataclass(frozen=True)
class GateResult:
    """Whether the candidate may take over, and one sentence for people."""

    passed: bool
    sentence: str


def compare(
    champion: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    groups: Mapping[str, NDArray[Any]],
    *,
    margin: float = MARGIN,
    group_margin: float | None = None,
) -> GateResult:
    """Passes a candidate that is shown not to be worse by more than the margin.

    On all rows the bound has to be above minus the margin: a candidate of which too little is known does not pass. Of
    groups there are many and each is small, so that the same rule would never pass anybody: there the difference itself
    has to be, in the group that is the candidate's worst. If it is, the candidate's worst group is no worse than the
    champion's worst group by more than the margin.

    Args:
        champion: whether it is right, `[N]`, N above 0.
        candidate: the same, in the same order of rows.
        groups: names by column, object `[N]`, None where a row has none; those with under 30 rows have no say.
        margin: of accuracy, 0 to 1.
        group_margin: of the worst group's accuracy; None for ``margin``.
    """
    overall = paired_difference(champion, candidate)
    bound = margin if group_margin is None else group_margin
    points = f"{_points(overall.difference)} on {overall.rows:,} test rows, surely more than {_points(overall.low)}"
    if overall.low < -margin:
        known = "is worse" if overall.difference < -margin else "may be worse"
        return GateResult(
            False, f"The candidate {known} than the champion by more than {_points(margin, sign='')}: {points}."
        )
    worst = _worst_group(candidate, groups)
    if worst is not None:
        name, chosen = worst
        found = paired_difference(champion[chosen], candidate[chosen])
        told = f"{_points(found.difference)} on the {found.rows:,} rows of {name}, its worst group"
        if found.difference < -bound:
            return GateResult(
                False, f"The candidate is worse than the champion by more than {_points(bound, sign='')}: {told}."
            )
        points = f"{points}; {told}"
    return GateResult(True, f"The candidate is not worse than the champion by more than the margin: {points}.")


def paired_difference(champion: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> PairedDifference:
    """With Tango's score bound, which holds for few rows and for students that never differ, where Wald's does not."""
    rows = len(champion)
    if rows == 0 or len(candidate) != rows:
        raise ValueError(f"{rows} rows of the champion and {len(candidate)} of the candidate cannot be paired")
    gained = int((candidate & ~champion).sum())
    lost = int((champion & ~candidate).sum())
    difference = (gained - lost) / rows
    return PairedDifference(rows, difference, _tango_low(gained, lost, rows, difference))


def _tango_low(gained: int, lost: int, rows: int, difference: float) -> float:
    """The least difference that the score test (Tango 1998) does not reject, by halving; the bound on the safe side."""
    outside, inside = -1.0, difference
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if _score(gained, lost, rows, middle) < _Z_ONE_SIDED:
            inside = middle
        else:
            outside = middle
    return outside


def _score(gained: int, lost: int, rows: int, delta: float) -> float:
    a = 2 * rows
    b = -gained - lost + (2 * rows - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    losing = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = rows * (2 * losing + delta * (1 - delta))
    above = gained - lost - rows * delta
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0


def _worst_group(
    candidate: NDArray[np.bool_], groups: Mapping[str, NDArray[Any]]
) -> tuple[str, NDArray[np.bool_]] | None:
    found = []
    for column, names in groups.items():
        for name in sorted({name for name in names if name is not None}):
            chosen = np.asarray(names == name, dtype=np.bool_)
            if chosen.sum() >= _FEWEST_GROUP_ROWS:
                found.append((float(candidate[chosen].mean()), f"{column} = {name}", chosen))
    if not found:
        return None
    _, name, chosen = min(found, key=lambda each: each[:2])
    return name, chosen


def _points(value: float, sign: str = "+") -> str:
    return f"{100 * value:{sign}.2f} points"
