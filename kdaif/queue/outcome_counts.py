"""What devices saw during rollouts, as counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from kdaif.errors import AlreadyExistsError, FailedPreconditionError, InvalidInputError
from kdaif.queue import codec, connection, keys
from kdaif.queue.ids import check_request_id, check_tenant
from kdaif.queue.scripts import Scripts

_DAY_S = 86_400
# Of a rollout that nobody reports on any more.
_KEPT_S = 400 * _DAY_S
# One report; so that sums stay far from the end of Redis's 64 bits.
_MOST_REPORTED = 10**9


@dataclass(frozen=True)
class OutcomeCount:
    """What devices saw of one student: predictions made, those whose truth became known, and how many were right."""

    predictions: int = 0
    right: int = 0
    total: int = 0


class OutcomeCounts:
    """Reads and writes the counters. Every method raises UnavailableError when Redis does not answer."""

    def __init__(self, url: str, redis: Redis, scripts: Scripts) -> None:
        self._url = url
        self._redis = redis
        self._scripts = scripts

    async def report(
        self, tenant: str, rollout: str, student: str, count: OutcomeCount, *, request_id: str, is_going_on: bool
    ) -> dict[str, OutcomeCount]:
        """Adds to the counters of a rollout, once per request id; answers the counts of every student by its name.

        A request id is remembered for a day. What was counted is acknowledged after the end of the rollout, too.

        Raises:
            AlreadyExistsError: the request id came with other numbers before.
            FailedPreconditionError: the rollout is over.
            InvalidInputError: numbers that cannot be.
        """
        check_tenant(tenant)
        check_request_id(request_id)
        _check(count)
        with connection.translated(self._url, "count outcomes"):
            answer = await self._scripts.report(
                [keys.rollout(tenant, rollout), keys.report(tenant, rollout, request_id)],
                [
                    student,
                    str(count.predictions),
                    str(count.right),
                    str(count.total),
                    "1" if is_going_on else "0",
                    str(_DAY_S),
                    str(_KEPT_S),
                ],
            )
        if answer[0] == "TAKEN":
            raise AlreadyExistsError(
                f"request id {request_id!r} came with other numbers before; use a new request id for a new report"
            )
        if answer[0] == "OVER":
            raise FailedPreconditionError(
                f"rollout {rollout!r} is over, so nothing is counted any more. Resolve the alias again, run that "
                "student, and report under the rollout that comes with it; where there is none, report nothing"
            )
        return _counts(codec.pairs(answer[1]))

    async def read(self, tenant: str, rollout: str) -> dict[str, OutcomeCount]:
        """The counts of a rollout by student; empty before the first report."""
        check_tenant(tenant)
        with connection.translated(self._url, "read outcomes"):
            found: Any = await self._redis.hgetall(keys.rollout(tenant, rollout))
        return _counts(found)


def _counts(fields: Mapping[str, str]) -> dict[str, OutcomeCount]:
    students = {name.partition(":")[2] for name in fields}
    return {
        student: OutcomeCount(*(int(fields[f"{part}:{student}"]) for part in ("predictions", "right", "total")))
        for student in students
    }


def _check(count: OutcomeCount) -> None:
    for field in ("predictions", "right", "total"):
        value = getattr(count, field)
        if not 0 <= value <= _MOST_REPORTED:
            raise InvalidInputError.of(field, f"is {value}; report 0 to {_MOST_REPORTED:,} at a time")
    if count.right > count.total:
        raise InvalidInputError.of("right", f"is {count.right}, of a total of {count.total}; no more can be right")
    if count.predictions == count.total == 0:
        raise InvalidInputError.of("predictions", "is 0, and so is total; report once there is something to count")
