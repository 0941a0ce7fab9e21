"""What a device should run, what devices saw, and what follows from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kdaif.errors import FailedPreconditionError, InvalidInputError, NotFoundError
from kdaif.queue import OutcomeCount, OutcomeCounts
from kdaif.records.lines import LineAction, LineRevision
from kdaif.rollout import Decision, Outcomes, Verdict, gets_canary, judge
from kdaif_server.lines import Lines, rollout_start


@dataclass(frozen=True)
class Resolved:
    """What a device should run. ``rollout`` is empty while none is going on."""

    student: str
    is_canary: bool
    revision: int
    rollout: str


@dataclass(frozen=True)
class Arm:
    """A student and what devices saw of it."""

    student: str
    count: OutcomeCount


@dataclass(frozen=True)
class Rollout:
    """Both students of a rollout and what the outcomes say."""

    name: str
    champion: Arm
    canary: Arm
    verdict: Verdict
    is_going_on: bool


class Rollouts:
    """Every method raises UnavailableError when the store or Redis does not answer."""

    def __init__(self, lines: Lines, counts: OutcomeCounts) -> None:
        self._lines = lines
        self._counts = counts

    async def resolve(self, tenant: str, line: str, device_key: str) -> Resolved:
        """The same for one device until the line changes. Raises NotFoundError for a line that is not there."""
        last = await self._lines.get(tenant, line)
        canary, champion = last.line.canary, last.line.champion or ""
        if canary is None:
            return Resolved(champion, False, last.revision, "")
        chosen = gets_canary(device_key, canary.rollout, canary.share)
        return Resolved(canary.student if chosen else champion, chosen, last.revision, canary.rollout)

    async def report(
        self, tenant: str, line: str, rollout: str, student: str, count: OutcomeCount, *, request_id: str
    ) -> Rollout:
        """Counts what a device saw; once outcomes have decided an automatic rollout, ends it.

        Raises:
            AlreadyExistsError: the request id came with other numbers before.
            FailedPreconditionError: the rollout is over.
            InvalidInputError: the student has no part in the rollout, or numbers that cannot be.
            NotFoundError: no such line or rollout.
        """
        last = await self._lines.get(tenant, line)
        if last.line.canary is None or last.line.canary.rollout != rollout:
            # This server may be the last to hear of a rollout that has just begun.
            last = await self._lines.newest(tenant, line)
        canary = last.line.canary
        is_going_on = canary is not None and canary.rollout == rollout
        began = last if is_going_on else await self._began(tenant, line, rollout)
        arms = _students(began)
        if student not in arms:
            raise InvalidInputError.of(
                "student", f"{student} has no part in rollout {rollout}, which holds {arms[1]} against {arms[0]}"
            )
        counts = await self._counts.report(
            tenant, rollout, student, count, request_id=request_id, is_going_on=is_going_on
        )
        found = _rollout(rollout, arms, counts, is_going_on=is_going_on)
        if not is_going_on or canary is None or not canary.automatic or found.verdict.decision is Decision.GO_ON:
            return found
        after = await self._lines.decide(tenant, line, rollout, found.verdict.decision, _why(found))
        still = after.line.canary
        return _rollout(rollout, arms, counts, is_going_on=still is not None and still.rollout == rollout)

    async def get(self, tenant: str, line: str, rollout: str) -> Rollout:
        """A rollout by name, or the one that goes on.

        Raises:
            FailedPreconditionError: none goes on, and none was named.
            NotFoundError: no such line or rollout.
        """
        last = await self._lines.get(tenant, line)
        now = last.line.canary.rollout if last.line.canary else ""
        if not (rollout or now):
            raise FailedPreconditionError(
                f"no rollout is going on in line {line!r}; name one of before, or start one by setting a canary"
            )
        wanted = rollout or now
        arms = _students(last if wanted == now else await self._began(tenant, line, wanted))
        return _rollout(wanted, arms, await self._counts.read(tenant, wanted), is_going_on=wanted == now)

    async def _began(self, tenant: str, line: str, rollout: str) -> LineRevision:
        number = rollout_start(line, rollout)
        try:
            found = await asyncio.to_thread(self._lines.store.revision, tenant, line, number)
        except NotFoundError:
            found = None
        if found is None or found.action is not LineAction.START_CANARY:
            raise NotFoundError(f"line {line!r} has no rollout {rollout!r}; list its revisions to see which there were")
        return found


def _students(began: LineRevision) -> tuple[str, str]:
    """Champion and canary."""
    if began.line.canary is None or began.line.champion is None:
        raise AssertionError("a rollout has both")
    return began.line.champion, began.line.canary.student


def _rollout(name: str, arms: tuple[str, str], counts: dict[str, OutcomeCount], *, is_going_on: bool) -> Rollout:
    champion, canary = (Arm(student, counts.get(student, OutcomeCount())) for student in arms)
    verdict = judge(*(Outcomes(arm.count.right, arm.count.total) for arm in (champion, canary)))
    return Rollout(name, champion, canary, verdict, is_going_on)


def _why(found: Rollout) -> str:
    better = "better" if found.verdict.decision is Decision.PROMOTE else "worse"
    return (
        f"The canary is {better}: {_told(found.canary)} against {_told(found.champion)} of the champion, a difference "
        f"of {100 * found.verdict.low:+.1f} to {100 * found.verdict.high:+.1f} points."
    )


def _told(arm: Arm) -> str:
    return f"{arm.count.right:,} of {arm.count.total:,} right ({arm.count.right / max(1, arm.count.total):.1%})"
