"""What a job says of its own trustworthiness."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alarm", "GroupAccuracy", "GroupWeight", "Scorecard"]


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at before trusting the student.

    ``code`` is ``GROUP_FLOOR``, ``CLASS_DRIFT``, ``FEW_EFFECTIVE_ROWS``, ``UNRELIABLE_INFLUENCE``, ``CANARY`` or
    ``WORST_GROUP``; ``subject`` what it is about, such as ``group_sex = F``; ``round`` is 0 where it belongs to none.
    """

    code: str
    subject: str
    message: str
    value: float
    bar: float
    round: int = 0


@dataclass(frozen=True)
class GroupAccuracy:
    """Share of one group's test rows that the shipped student gets right, with its 95 % interval.

    ``uniform`` is that of the uniform arm, and ``uniform_low`` the lower end of its interval.
    """

    column: str
    name: str
    rows: int
    accuracy: float
    low: float
    high: float
    uniform: float | None = None
    uniform_low: float | None = None


@dataclass(frozen=True)
class GroupWeight:
    """Mean weight of one group, where the mean over all rows is 1, with its 95 % interval.

    ``verdict`` is ``ok``, ``low`` (the whole interval is under the floor) or ``few`` (too few rows to tell).
    ``teacher_error`` is the share of the group's validation rows that the teacher gets wrong.
    """

    column: str
    name: str
    rows: int
    mean: float
    low: float
    high: float
    verdict: str
    teacher_error: float | None = None
    error_elsewhere: float | None = None


@dataclass(frozen=True)
class Scorecard:
    """A student on four axes, each 0 to 1, ``None`` where nothing is known; ``figures`` are what they are made of.

    ``composite`` is the mean of the axes by ``shares``; ``notes`` tell which figures could not be read, and why.
    """

    sustainability: float | None
    accuracy: float | None
    fairness: float | None
    explainability: float | None
    composite: float | None
    shares: dict[str, float]
    figures: dict[str, float]
    notes: tuple[str, ...] = ()
