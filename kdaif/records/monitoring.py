"""What is watched while weights move, the alarms that may come of it, and the scorecard of a student."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdaif.records.base import SpecModel, require_unique

SampleId = Annotated[str, Field(min_length=1, max_length=1024)]


class ScorecardShares(SpecModel):
    """Of the axes of a scorecard in its composite; only their proportions count. Without any, all count alike."""

    sustainability: float | None = Field(default=None, ge=0.0, le=1e6)
    accuracy: float | None = Field(default=None, ge=0.0, le=1e6)
    fairness: float | None = Field(default=None, ge=0.0, le=1e6)
    explainability: float | None = Field(default=None, ge=0.0, le=1e6)

    @model_validator(mode="after")
    def _some_share(self) -> ScorecardShares:
        given = self.given()
        if given and not sum(given.values()):
            raise ValueError("every share is 0: nothing would be left of the composite; give one axis a share over 0")
        return self

    def given(self) -> dict[str, float]:
        """The shares that were given, by axis."""
        return {name: float(share) for name, share in self.model_dump().items() if share is not None}


class Monitoring(SpecModel):
    """Bars of the alarms, and what an alarm does. A bar of 0 switches its alarm off.

    ``pause`` puts the job into AWAITING_REVIEW at its first alarm of a kind, for a person to resume or to reject it.
    """

    on_alarm: Literal["report", "pause"] = "report"
    # Lowest mean weight of a group, where the mean over all rows is 1.
    group_floor: float = Field(default=0.5, ge=0.0, le=1.0)
    # A smaller group gets no verdict.
    fewest_group_rows: int = Field(default=30, ge=2)
    # Largest share of U's weight that may stand in other classes than V's rows do.
    class_drift: float = Field(default=0.3, ge=0.0, le=1.0)
    # Smallest effective sample size, as a share of U.
    effective_share: float = Field(default=0.2, ge=0.0, le=1.0)
    # Smallest rank correlation of the influences of two halves of V.
    reliability: float = Field(default=0.05, ge=0.0, le=1.0)
    scorecard_shares: ScorecardShares = ScorecardShares()
    # Samples to explain pair by pair whatever they weigh; beside them overridden ones and, of each class, the extremes.
    explain_ids: tuple[SampleId, ...] = Field(default=(), max_length=1000)
    explained_rows: int = Field(default=500, ge=0, le=100_000)
    # Of the job's time, at most; 0 explains nothing.
    explain_seconds: float = Field(default=5.0, ge=0.0, le=86_400.0)

    @model_validator(mode="after")
    def _consistent(self) -> Monitoring:
        require_unique(self.explain_ids, "explain_ids")
        return self


class AlarmCode(StrEnum):
    """Kinds of alarms."""

    GROUP_FLOOR = "GROUP_FLOOR"
    CLASS_DRIFT = "CLASS_DRIFT"
    FEW_EFFECTIVE_ROWS = "FEW_EFFECTIVE_ROWS"
    UNRELIABLE_INFLUENCE = "UNRELIABLE_INFLUENCE"
    CANARY = "CANARY"
    WORST_GROUP = "WORST_GROUP"


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at before trusting the student.

    Attributes:
        code: its kind.
        subject: what it is about, such as ``group_sex = F``; empty where it is about the whole round.
        message: what was seen, what it means, and what to do.
        value: the figure, and ``bar``: what it should have reached or kept under.
        round: from 1; 0 for what belongs to no round.
    """

    code: AlarmCode
    subject: str
    message: str
    value: float
    bar: float
    round: int = 0

    @property
    def key(self) -> str:
        """Two alarms of one key are the same trouble: a person is asked about it once."""
        return f"{self.code}:{self.subject}"


@dataclass(frozen=True)
class GroupWeight:
    """Mean weight of one group in one round, with its 95 % interval.

    Attributes:
        column: of the group, such as ``group_sex``.
        name: of the group.
        rows: of U in it.
        mean: weight, where the mean over all rows is 1; ``low`` to ``high`` is the interval.
        verdict: ``low`` where the whole interval is under the floor, ``few`` where the rows allow no verdict.
        teacher_error: share of the group's rows of V that the teacher gets wrong; None where that is not known.
        error_elsewhere: the same of all other rows of V.
    """

    column: str
    name: str
    rows: int
    mean: float
    low: float
    high: float
    verdict: Literal["ok", "low", "few"]
    teacher_error: float | None = None
    error_elsewhere: float | None = None

    @property
    def tracks_teacher_error(self) -> bool | None:
        """Whether the teacher is wrong more often here than elsewhere; None where that is not known."""
        if self.teacher_error is None or self.error_elsewhere is None:
            return None
        return self.teacher_error > self.error_elsewhere


@dataclass(frozen=True)
class GroupAccuracy:
    """Share of one group's test rows that the shipped student, and the uniform one, get right, with 95 % intervals."""

    column: str
    name: str
    rows: int
    accuracy: float
    low: float
    high: float
    uniform: float | None = None
    uniform_low: float | None = None


@dataclass(frozen=True)
class Scorecard:
    """A student on four axes (SAFE), each 0 to 1 and with the figures that it is made of; None where none are known.

    ``composite`` is their mean by ``shares``, over the axes that are known; ``notes`` tell which figures could not be
    read, and why.
    """

    sustainability: float | None
    accuracy: float | None
    fairness: float | None
    explainability: float | None
    composite: float | None
    shares: dict[str, float]
    figures: dict[str, float]
    notes: tuple[str, ...] = ()
