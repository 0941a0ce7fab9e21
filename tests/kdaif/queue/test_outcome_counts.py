from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from kdaif.errors import AlreadyExistsError, FailedPreconditionError, InvalidInputError
from kdaif.queue import JobQueue, OutcomeCount


def test_a_report_counts_once_however_often_it_is_sent(play: Callable[..., Any], raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        counts = queue.outcomes

        async def send(student: str, request_id: str, *numbers: int, is_going_on: bool = True) -> Any:
            count = OutcomeCount(*numbers)
            return await counts.report("acme", "x.7", student, count, request_id=request_id, is_going_on=is_going_on)

        assert await counts.read("acme", "x.7") == {}
        answers = await asyncio.gather(*(send("a", "r1", 10, 4, 5) for _ in range(20)))
        assert all(answer == {"a": OutcomeCount(10, 4, 5)} for answer in answers)
        await asyncio.gather(*(send("b", f"s{number}", 2, 1, 2) for number in range(50)))
        both = {"a": OutcomeCount(10, 4, 5), "b": OutcomeCount(100, 50, 100)}
        assert await counts.read("acme", "x.7") == both
        assert await counts.read("other", "x.7") == await counts.read("acme", "x.8") == {}
        with pytest.raises(AlreadyExistsError, match="other numbers"):
            await send("a", "r1", 10, 5, 5)
        with pytest.raises(FailedPreconditionError, match="is over"):
            await send("a", "r2", 1, 1, 1, is_going_on=False)
        assert await send("a", "r1", 10, 4, 5, is_going_on=False) == both

    play(scenario)
    assert 0 < raw.ttl("kdaif:{acme}:report:x.7:r1") <= 86_400
    assert raw.ttl("kdaif:{acme}:rollout:x.7") > 86_400


@pytest.mark.parametrize("numbers", [(0, 0, 0), (-1, 0, 0), (1, 2, 1), (10**10, 0, 0), (5, -1, 3)])
def test_numbers_that_cannot_be_are_refused(play: Callable[..., Any], numbers: tuple[int, int, int]) -> None:
    async def scenario(queue: JobQueue) -> None:
        with pytest.raises(InvalidInputError):
            await queue.outcomes.report("acme", "x.1", "a", OutcomeCount(*numbers), request_id="r", is_going_on=True)

    play(scenario)
