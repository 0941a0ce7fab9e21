"""What a line of students is, and what a rollout found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Canary", "LineInfo", "LineRevision", "Outcomes", "Resolved", "Rollout"]


@dataclass(frozen=True)
class Canary:
    """A student that is tried on a share of the devices, 0 to 1.

    ``rollout`` draws the devices and stays the same however the share changes. With ``automatic`` the server promotes
    or drops it once outcomes have decided; with ``forced`` the promotion gate cannot stop it.
    """

    student: str
    share: float
    rollout: str
    automatic: bool
    forced: bool


@dataclass(frozen=True)
class LineInfo:
    """A line as it was from one revision on. ``name`` is ``tenants/{tenant}/lines/{line}``.

    ``champion`` is a student's name, ``former_champions`` those before it, newest first; ``canary`` is ``None`` while
    no rollout is going on. ``gate`` is what the promotion gate found in the change that this answers, if any.
    """

    name: str
    revision: int
    champion: str
    former_champions: tuple[str, ...]
    canary: Canary | None
    update_time: datetime | None
    gate: str = ""


@dataclass(frozen=True)
class LineRevision:
    """One change of a line: by whom, why, and what the line was from then on.

    ``action`` is SET_CHAMPION, START_CANARY, SET_SHARE, PROMOTE or ROLL_BACK, and ``student`` whom it was about.
    ``automatic`` changes were made by the server; with ``forced`` the promotion gate was overruled.
    """

    revision: int
    action: str
    student: str
    author: str
    reason: str
    time: datetime | None
    automatic: bool
    forced: bool
    gate: str
    line: LineInfo


@dataclass(frozen=True)
class Resolved:
    """What a device should run. ``rollout`` is empty while none is going on."""

    student: str
    is_canary: bool
    revision: int
    rollout: str


@dataclass(frozen=True)
class Outcomes:
    """What devices saw of a student: predictions made, those whose truth became known, and how many were right."""

    student: str
    predictions: int
    right: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """Of those whose truth became known; ``None`` before the first."""
        return self.right / self.total if self.total else None


@dataclass(frozen=True)
class Rollout:
    """Both students of a rollout, and what the outcomes say: ``decision`` is PROMOTE, ROLL_BACK or GO_ON.

    The accuracy of the canary less that of the champion lies between ``low`` and ``high`` with a probability of 95 %
    at all times at once, so looking often does no harm. ``is_going_on`` says whether the canary still gets its share.
    """

    rollout: str
    champion: Outcomes
    canary: Outcomes
    decision: str
    low: float
    high: float
    is_going_on: bool
