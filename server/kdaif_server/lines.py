"""Lines of students: the changes that people make, and those that the server makes of outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from kdaif.errors import FailedPreconditionError, InvalidInputError, NotFoundError
from kdaif.records import Job
from kdaif.records.audit import AuditEvent, AuditKind
from kdaif.records.lines import Canary, Line, LineAction, LineRevision
from kdaif.rollout import Decision
from kdaif.rollout import line as moves
from kdaif.store import LineStore
from kdaif_server.artifacts import Artifacts
from kdaif_server.audit import recorded
from kdaif_server.gate import GateTerms, Passed, pass_gate
from kdaif_server.names import line_name

_SERVER = "kdaif-server"
_log = structlog.get_logger("kdaif.server")

_Make = Callable[[LineRevision | None], Awaitable[LineRevision | None]]


@dataclass(frozen=True)
class Order:
    """Who changes which line and why, and the revision that they have seen; None for whichever it is at."""

    tenant: str
    line: str
    author: str
    reason: str
    expected_revision: int | None = None


class Lines:
    """The lines of all tenants. Every method raises UnavailableError when the store or the queue does not answer."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self.store = LineStore(artifacts.blobs)

    async def get(self, tenant: str, line: str) -> LineRevision:
        """The line as it was at most a second ago. Raises NotFoundError."""
        return self.store.remembered(tenant, line) or await self.newest(tenant, line)

    async def newest(self, tenant: str, line: str) -> LineRevision:
        """The line as it is now. Raises NotFoundError."""
        found = await asyncio.to_thread(self.store.newest, tenant, line)
        if found is None:
            raise _no_line(tenant, line)
        return found

    async def set_champion(self, order: Order, student: str, terms: GateTerms) -> LineRevision:
        """Makes a student the champion; the one before can be gone back to.

        Raises:
            FailedPreconditionError: the gate does not let it through, or the line is at another revision.
            NotFoundError: no such job.
        """
        job = await self._artifacts.succeeded_job(order.tenant, student)

        async def make(last: LineRevision | None) -> LineRevision | None:
            line = Line() if last is None else last.line
            if line.champion == student:
                return None  # the same call again, whose first answer was lost
            passed = await self._pass_gate(line, job, terms)
            return _next(last, order, LineAction.SET_CHAMPION, student, moves.set_champion(line, student), passed)

        return await self._change(order, make)

    async def set_canary(
        self, order: Order, student: str, share: float, terms: GateTerms, *, automatic: bool
    ) -> LineRevision:
        """Starts a rollout, or changes the share of the one that goes on with this student.

        An automatic canary passes the gate now, for nobody is there to be asked once outcomes have decided.

        Raises:
            FailedPreconditionError: there is no champion or another canary, or the gate does not let it through.
            InvalidInputError: a share that is none.
            NotFoundError: no such job.
        """
        if not (math.isfinite(share) and 0 <= share <= 1):
            raise InvalidInputError.of("share", f"is {share}; give a share of the devices from 0 to 1, such as 0.05")
        job = await self._artifacts.succeeded_job(order.tenant, student)

        async def make(last: LineRevision | None) -> LineRevision | None:
            line = Line() if last is None else last.line
            now = line.canary
            if now is not None and now.student == student:
                forced = now.forced or terms.force
                if (now.share, now.automatic, now.forced) == (share, automatic, forced):
                    return None
                after = moves.set_share(line, share, automatic=automatic, forced=forced)
                asks = automatic and not now.automatic
                passed = await self._pass_gate(line, job, terms) if asks else Passed()
                return _next(last, order, LineAction.SET_SHARE, student, after, passed)
            rollout = rollout_name(order.line, 1 if last is None else last.revision + 1)
            after = moves.start_canary(line, Canary(student, share, rollout, automatic, terms.force))
            passed = await self._pass_gate(line, job, terms) if automatic else Passed()
            return _next(last, order, LineAction.START_CANARY, student, after, passed)

        return await self._change(order, make)

    async def promote(self, order: Order, terms: GateTerms) -> LineRevision:
        """The canary becomes the champion.

        Raises:
            FailedPreconditionError: there is no canary, or the gate does not let it through.
            NotFoundError: no such line.
        """

        async def make(last: LineRevision | None) -> LineRevision | None:
            if last is None:
                raise _no_line(order.tenant, order.line)
            after = moves.promote(last.line)
            student = after.champions[-1]
            forced = last.line.canary is not None and last.line.canary.forced
            job = await self._artifacts.succeeded_job(order.tenant, student)
            passed = await self._pass_gate(last.line, job, replace(terms, force=terms.force or forced))
            return _next(last, order, LineAction.PROMOTE, student, after, passed)

        return await self._change(order, make)

    async def roll_back(self, order: Order, *, champion: bool) -> LineRevision:
        """Drops the canary, or the champion and the canary with it.

        Raises:
            FailedPreconditionError: there is no canary, or no champion before this one whose student is still there.
            NotFoundError: no such line.
        """

        async def make(last: LineRevision | None) -> LineRevision | None:
            if last is None:
                raise _no_line(order.tenant, order.line)
            if not champion:
                return _dropped(last, order)
            after = moves.drop_champion(last.line)
            try:
                await self._artifacts.succeeded_job(order.tenant, after.champions[-1])
            except NotFoundError:
                raise FailedPreconditionError(
                    f"the champion before, {after.champions[-1]}, was deleted; set another student as champion"
                ) from None
            return _next(last, order, LineAction.ROLL_BACK, last.line.champions[-1], after)

        return await self._change(order, make)

    async def decide(self, tenant: str, line: str, rollout: str, decision: Decision, why: str) -> LineRevision:
        """Does what outcomes decided of an automatic rollout, unless it ended meanwhile.

        Any number of servers may find so at the same time; one revision comes of it. The gate was passed at the start.
        """
        order = Order(tenant, line, _SERVER, why)
        mine: LineRevision | None = None

        async def make(last: LineRevision | None) -> LineRevision | None:
            nonlocal mine
            canary = None if last is None else last.line.canary
            if last is None or canary is None or canary.rollout != rollout or not canary.automatic:
                return None
            if decision is Decision.PROMOTE:
                made = _next(last, order, LineAction.PROMOTE, canary.student, moves.promote(last.line))
            else:
                made = _dropped(last, order)
            mine = replace(made, automatic=True)
            return mine

        after = await self._change(order, make)
        if after is mine:
            _log.info("rollout decided", tenant=tenant, line=line, rollout=rollout, decision=decision, why=why)
        return after

    async def revisions(self, tenant: str, line: str, *, before: int | None, limit: int) -> list[LineRevision]:
        """Changes, newest first, at most ``limit``, of numbers under ``before``. Raises NotFoundError."""
        last = await self.newest(tenant, line)
        top = last.revision if before is None else min(before - 1, last.revision)
        numbers = range(top, max(0, top - limit), -1)
        return await asyncio.to_thread(lambda: [self.store.revision(tenant, line, number) for number in numbers])

    async def _pass_gate(self, line: Line, candidate: Job, terms: GateTerms) -> Passed:
        if line.champion is None:
            return Passed()
        try:
            champion = await self._artifacts.succeeded_job(candidate.tenant, line.champion)
        except NotFoundError:
            return Passed("Not compared: the champion's job was deleted.")
        return await asyncio.to_thread(pass_gate, self._artifacts.blobs, champion, candidate, terms)

    async def _change(self, order: Order, make: _Make) -> LineRevision:
        """Of two who change a line at once one is first; the other's change is made of what the first left."""
        while True:
            last = await asyncio.to_thread(self.store.newest, order.tenant, order.line)
            number = 0 if last is None else last.revision
            if order.expected_revision is not None and order.expected_revision != number:
                raise FailedPreconditionError(
                    f"line {order.line!r} is at revision {number}, not at {order.expected_revision}: somebody changed "
                    "it. Look at it again, and send the revision that you have seen"
                )
            made = await make(last)
            if made is None:
                if last is None:
                    raise _no_line(order.tenant, order.line)
                return last
            with contextlib.suppress(_LostRaceError):
                async with recorded(self._artifacts.audit, order.tenant, _event(order, made)):
                    if not await asyncio.to_thread(self.store.append, order.tenant, order.line, made):
                        raise _LostRaceError(f"somebody else was first with revision {made.revision}")
                return made


class _LostRaceError(FailedPreconditionError):
    """Somebody else added the revision."""


def _event(order: Order, made: LineRevision) -> AuditEvent:
    canary = made.line.canary
    details = {
        "revision": str(made.revision),
        "student": made.student,
        "champion": made.line.champion or "",
        "canary": "" if canary is None else f"{canary.student} on {canary.share:.4g} of the devices",
        "automatic": str(made.automatic).lower(),
        "forced": str(made.forced).lower(),
        "gate": made.gate,
    }
    return AuditEvent(
        kind=AuditKind.LINE,
        subject=line_name(order.tenant, order.line),
        action=made.action.lower().replace("_", " "),
        author=made.author,
        reason=made.reason,
        details={name: text for name, text in details.items() if text and text != "false"},
    )


def rollout_name(line: str, revision: int) -> str:
    """Names the rollout that began with a revision."""
    return f"{line}.{revision}"


def rollout_start(line: str, rollout: str) -> int:
    """The inverse. Raises NotFoundError for a rollout of another line."""
    of_line, _, revision = rollout.rpartition(".")
    if of_line != line or not revision.isdecimal():
        raise NotFoundError(f"line {line!r} has no rollout {rollout!r}; list its revisions to see which there were")
    return int(revision)


def _dropped(last: LineRevision, order: Order) -> LineRevision:
    after = moves.drop_canary(last.line)
    student = "" if last.line.canary is None else last.line.canary.student
    return _next(last, order, LineAction.ROLL_BACK, student, after)


def _next(
    last: LineRevision | None, order: Order, action: LineAction, student: str, after: Line, passed: Passed | None = None
) -> LineRevision:
    passed = passed or Passed()
    return LineRevision(
        revision=1 if last is None else last.revision + 1,
        action=action,
        student=student,
        author=order.author,
        reason=order.reason,
        time_ms=int(time.time() * 1000),
        line=after,
        forced=passed.forced,
        gate=passed.sentence,
    )


def _no_line(tenant: str, line: str) -> NotFoundError:
    return NotFoundError(f"tenant {tenant!r} has no line {line!r}; it is there once a student is set as its champion")
