"""Submitting once, and finding jobs again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from kdaif.errors import AlreadyExistsError, InvalidInputError
from kdaif.queue import JobQueue
from kdaif.queue.ids import DIGITS, is_job_id, random_end
from kdaif.records import DistillationSpec, Estimate, JobState, PreflightReport, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]


def test_q7_the_same_request_makes_one_job(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await asyncio.gather(*(submit(queue, request_id="r1") for _ in range(8)))
        assert len({job.id for job in made}) == 1
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        assert await submit(queue, request_id="r1") == claim.job  # as it is now
        assert await queue.claim(WorkerOffer("w")) is None
        assert (await submit(queue, "other", request_id="r1")).id != made[0].id  # each tenant has its own request ids

    play(scenario)


def test_q7_a_changed_body_is_refused(play: Play, submit: Submit, spec: DistillationSpec) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue, request_id="r1")
        with pytest.raises(AlreadyExistsError, match=made.id):
            await submit(queue, request_id="r1", max_attempts=7)
        with pytest.raises(AlreadyExistsError, match="new request id"):
            await queue.submit("acme", spec, PreflightReport(), request_id="r1", display_name="other")
        assert (await queue.list("acme", limit=10))[0] == [made]

    play(scenario)


def test_an_empty_request_id_makes_a_job_each_time(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        assert (await submit(queue)).id != (await submit(queue)).id
        for request_id in ("a b", "x" * 129, "é"):
            with pytest.raises(InvalidInputError, match="request_id"):
                await submit(queue, request_id=request_id)

    play(scenario)


def test_the_estimate_stays_with_the_job_and_jobs_of_old_have_none(
    play: Play, submit: Submit, spec: DistillationSpec
) -> None:
    async def scenario(queue: JobQueue) -> None:
        cost = Estimate(seconds=12.5, memory_bytes=3 << 30)
        made = await queue.submit("acme", spec, PreflightReport(), request_id="r1", estimate=cost)
        assert made.estimate == (await queue.get("acme", made.id)).estimate == cost
        again = await queue.submit("acme", spec, PreflightReport(), request_id="r1", estimate=Estimate(1.0, 1))
        assert again == made  # the estimate is no part of the request
        old = await submit(queue)  # written as before: without the field
        assert (await queue.get("acme", old.id)).estimate is None

    play(scenario)


def test_job_ids_begin_with_the_time_and_so_sort_by_it(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = [await submit(queue) for _ in range(20)]
        for job in made:
            assert is_job_id(job.id)
            assert sum(
                DIGITS.index(digit) << shift for digit, shift in zip(job.id[:10], range(45, -1, -5), strict=True)
            ) == (job.created_at_ms)
        assert sorted(made, key=lambda job: (job.created_at_ms, job.id)) == sorted(made, key=lambda job: job.id)
        assert len({random_end() for _ in range(1000)}) == 1000

    play(scenario)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_hold_every_job_once_newest_first(play: Play, submit: Submit, limit: int) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = [(await submit(queue)).id for _ in range(7)]
        await submit(queue, "other")
        seen: list[str] = []
        cursor = ""
        while True:
            page, cursor = await queue.list("acme", limit=limit, cursor=cursor)
            assert 0 < len(page) <= limit
            seen += [job.id for job in page]
            if not cursor:
                break
        assert seen == sorted(made, reverse=True)

    play(scenario)


def test_list_by_state(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = [await submit(queue) for _ in range(5)]
        for job in made[:2]:
            await queue.cancel("acme", job.id)
        cancelled = frozenset({JobState.CANCELLED})
        page, cursor = await queue.list("acme", limit=1, states=cancelled)
        rest, last = await queue.list("acme", limit=5, states=cancelled, cursor=cursor)
        assert sorted(job.id for job in page + rest) == sorted(job.id for job in made[:2])
        assert last == ""
        assert await queue.list("acme", limit=5, states=frozenset({JobState.DEAD})) == ([], "")
        assert await queue.list("nobody", limit=5) == ([], "")
        with pytest.raises(InvalidInputError, match="limit"):
            await queue.list("acme", limit=0)
        with pytest.raises(InvalidInputError, match="cursor"):
            await queue.list("acme", limit=1, cursor="nonsense")

    play(scenario)
