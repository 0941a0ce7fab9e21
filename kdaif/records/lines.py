"""A line of students: who is the champion, who is tried beside it on some devices, and every change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter


class LineAction(StrEnum):
    """What a revision did; the names equal those of the proto enum without its prefix."""

    SET_CHAMPION = "SET_CHAMPION"
    START_CANARY = "START_CANARY"
    SET_SHARE = "SET_SHARE"
    PROMOTE = "PROMOTE"
    ROLL_BACK = "ROLL_BACK"


@dataclass(frozen=True)
class Canary:
    """A student that is tried on some devices.

    Attributes:
        student: id of the job that made it.
        share: of the devices, 0 to 1.
        rollout: draws the devices; stays the same however the share changes, so that a device stays where it is.
        automatic: the server promotes or drops it once outcomes have decided.
        forced: it may be promoted whatever the promotion gate says.
    """

    student: str
    share: float
    rollout: str
    automatic: bool = False
    forced: bool = False


@dataclass(frozen=True)
class Line:
    """Students that follow one another on the same devices, each named by the id of its job.

    Attributes:
        champions: oldest first; the last is the champion, and those before it are what a roll back goes back to.
        canary: None while no rollout is going on.
    """

    champions: tuple[str, ...] = ()
    canary: Canary | None = None

    @property
    def champion(self) -> str | None:
        """None before the first one."""
        return self.champions[-1] if self.champions else None


@dataclass(frozen=True)
class LineRevision:
    """One change of a line, and the line as it was from then on. A line as it is, is its last revision.

    Attributes:
        revision: counts 1, 2, 3, ... in a line.
        action: what was done.
        student: whom it was about; of ROLL_BACK the one that was dropped.
        author: who decided.
        reason: why.
        time_ms: Unix milliseconds by the clock of the server.
        line: from then on.
        automatic: the server decided by itself, from outcomes.
        forced: the promotion gate was overruled.
        gate: what the promotion gate found; empty where there was nothing to compare.
    """

    revision: int
    action: LineAction
    student: str
    author: str
    reason: str
    time_ms: int
    line: Line
    automatic: bool = False
    forced: bool = False
    gate: str = ""

    def to_json(self) -> bytes:
        """UTF-8 JSON."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> LineRevision:
        """The inverse of ``to_json``; ``pydantic.ValidationError`` when it is something else."""
        return _ADAPTER.validate_json(data)


_ADAPTER = TypeAdapter(LineRevision)
