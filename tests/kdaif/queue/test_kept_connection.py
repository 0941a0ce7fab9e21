"""What goes wrong on a connection that is kept for scripts reaches nobody, and what a job costs the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import UnavailableError
from kdaif.queue import JobQueue, kept_connection
from kdaif.records import JobResult, JobState, WorkerOffer

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]

WORKER = WorkerOffer("w")
RESULT = JobResult(1, (), "no difference", 1.0)
# Submitted, claimed and finished by a tenant who is alone; it was 81. Each costs the server a microsecond or two.
MOST_COMMANDS = 40


def test_connections_that_were_cut_are_not_noticed(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(3):
            made = await asyncio.gather(*(submit(queue) for _ in range(50)))  # more than there are connections
            assert len({job.id for job in made}) == 50
            raw.client_kill_filter(_type="normal", skipme=True)
            claim = await queue.claim(WORKER)
            assert claim is not None
            raw.client_kill_filter(_type="normal", skipme=True)
            assert (await queue.succeed(claim, RESULT)).state is JobState.SUCCEEDED
        assert len((await queue.list("acme", limit=200))[0]) == 150

    play(scenario)


def test_a_caller_that_is_gone_leaves_its_answer_to_nobody(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        for _ in range(20):
            gone = asyncio.create_task(submit(queue, request_id="gone"))
            for _ in range(3):
                await asyncio.sleep(0)
            gone.cancel()
            made = await submit(queue)
            assert made.id == (await queue.get("acme", made.id)).id
            claim = await queue.claim(WORKER)
            assert claim is not None
            assert await queue.renew(claim)

    play(scenario)


def test_who_waits_behind_a_caller_that_is_gone_gets_an_answer(play: Play, submit: Submit) -> None:
    async def scenario(queue: JobQueue) -> None:
        ids = [(await submit(queue)).id for _ in range(4)]
        for sent in range(6):  # steps of the event loop until the first is gone: before, while and after it asks
            gone, *others = (asyncio.create_task(queue.get("acme", job_id)) for job_id in ids)
            for _ in range(sent):
                await asyncio.sleep(0)
            gone.cancel()
            found = await asyncio.wait_for(asyncio.gather(*others), 5)
            assert [job.id for job in found] == ids[1:]
            await asyncio.gather(gone, return_exceptions=True)

    play(scenario)


def test_a_server_that_does_not_answer_is_told_in_time(
    play: Play, submit: Submit, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connection, "SOCKET_TIMEOUT_S", 0.2)

    async def scenario(queue: JobQueue) -> None:
        await submit(queue)
        raw.client_pause(5_000, all=False)  # writes alone
        with pytest.raises(UnavailableError, match="Timeout reading"):
            await submit(queue, request_id="once")
        raw.client_unpause()
        made = await submit(queue, request_id="once")
        jobs, _ = await queue.list("acme", limit=10)
        assert [job.id for job in jobs].count(made.id) == 1
        assert len(jobs) == 2

    play(scenario)


def test_a_job_costs_few_commands(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        async def one() -> None:
            await submit(queue)
            claim = await queue.claim(WORKER)
            assert claim is not None
            await queue.succeed(claim, RESULT)

        await one()  # scripts are loaded, and the tenant is known
        raw.config_resetstat()
        await one()
        stats: Any = raw.info("commandstats")
        calls = {name: found["calls"] for name, found in stats.items() if name != "cmdstat_config|resetstat"}
        assert calls.pop("cmdstat_evalsha") == 3
        assert sum(calls.values()) <= MOST_COMMANDS, calls

    play(scenario)
