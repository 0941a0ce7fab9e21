"""What may happen to a line of students: values in, values out. Each change raises where the line does not allow it."""

from __future__ import annotations

from dataclasses import replace

from kdaif.errors import FailedPreconditionError
from kdaif.records.lines import Canary, Line

# Nobody rolls back further; and so a revision stays small.
_MOST_CHAMPIONS = 100


def set_champion(line: Line, student: str) -> Line:
    """Ends a rollout that is going on: its outcomes were held against another champion."""
    if student == line.champion:
        raise FailedPreconditionError(f"student {student} is the champion already")
    return Line((*line.champions, student)[-_MOST_CHAMPIONS:])


def start_canary(line: Line, canary: Canary) -> Line:
    """Tries a student on a share of the devices."""
    if line.champion is None:
        raise FailedPreconditionError("there is no champion to hold a canary against; set a champion first")
    if line.canary is not None:
        raise FailedPreconditionError(
            f"student {line.canary.student} is the canary already; promote it or roll it back first"
        )
    if canary.student == line.champion:
        raise FailedPreconditionError(f"student {canary.student} is the champion; try another one")
    return replace(line, canary=canary)


def set_share(line: Line, share: float, *, automatic: bool, forced: bool) -> Line:
    """Changes how many devices get the canary. A larger share keeps those that have it."""
    canary = _canary(line)
    return replace(line, canary=replace(canary, share=share, automatic=automatic, forced=canary.forced or forced))


def promote(line: Line) -> Line:
    """The canary becomes the champion."""
    return set_champion(line, _canary(line).student)


def drop_canary(line: Line) -> Line:
    """Every device goes back to the champion."""
    _canary(line)
    return replace(line, canary=None)


def drop_champion(line: Line) -> Line:
    """Goes back to the champion before, and drops the canary."""
    if len(line.champions) < 2:
        raise FailedPreconditionError("there was no champion before this one; set another champion instead")
    return Line(line.champions[:-1])


def _canary(line: Line) -> Canary:
    if line.canary is None:
        raise FailedPreconditionError(
            "no rollout is going on; start one by setting a canary. To go back to the champion before, roll back the "
            "champion"
        )
    return line.canary
