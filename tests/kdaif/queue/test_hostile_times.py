"""What befalls a server beside calls: scripts forgotten all the time, somebody's endless script, a change of roles, an
answer that breaks off. Each is an outage at worst: what was acknowledged stays, and no call ends as a fault of ours."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from kdaif.errors import UnavailableError
from kdaif.queue import JobQueue
from kdaif.queue.connection import translated
from kdaif.records import JobResult, JobState, WorkerOffer
from tests.chaos.proxy import Network
from tests.kdaif.queue import fleet
from tests.kdaif.queue.breaking_line import line_to
from tests.waiting import wait_for

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

WORKER = WorkerOffer("w")
RESULT = JobResult(1, (), "no difference", 1.0)
BUSY_FOR_MS = 400
BUSY = """
local function ms() local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end
local ends = ms() + ARGV[1]
while ms() < ends do end
"""


async def one_life(queue: JobQueue, submit: Submit) -> JobState:
    made = await submit(queue)
    claim = await queue.claim(WORKER)
    assert claim is not None
    assert claim.job.id == made.id
    await queue.renew(claim)
    await queue.publish(claim, "progress")
    return (await queue.succeed(claim, RESULT)).state


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Again and again, in a thread."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_scripts_that_are_forgotten_all_the_time_still_run(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        with beside(raw.script_flush):
            for _ in range(50):
                assert await one_life(queue, submit) is JobState.SUCCEEDED

    play(scenario)


def test_somebodys_endless_script_is_an_outage(play: Play, submit: Submit, raw: Redis) -> None:
    raw.config_set("busy-reply-threshold", 10)
    refused = 0

    async def scenario(queue: JobQueue) -> None:
        nonlocal refused
        made = await submit(queue)
        busy = asyncio.create_task(asyncio.to_thread(raw.eval, BUSY, 0, BUSY_FOR_MS))
        asks = (
            lambda: queue.get("acme", made.id),
            lambda: queue.list("acme", limit=10),
            lambda: queue.events("acme", made.id, after_sequence=0),
            lambda: queue.workers(),
            lambda: queue.cancel("acme", made.id),
        )
        while not busy.done():
            for ask in asks:
                try:
                    await ask()
                except UnavailableError:
                    refused += 1
        await queue.cancel("acme", made.id)  # each before may have been refused
        assert await one_life(queue, submit) is JobState.SUCCEEDED

    try:
        play(scenario)
    finally:
        raw.config_set("busy-reply-threshold", 5000)
    assert refused > 0


@pytest.mark.parametrize(
    ("told", "is_outage"),
    [
        ("BUSY Valkey is busy running a script.", True),
        ("""Command # 2 (HGET k "a'b") of pipeline caused error: ('MISCONF Errors writing to the AOF file',)""", True),
        ('Command # 1 (EXISTS k) of pipeline caused error: ("BUSY it\'s busy",)', True),
        ("BUSYGROUP Consumer Group name already exists", False),
        ("Command # 1 (SET k MISCONF x) of pipeline caused error: ('WRONGTYPE Operation',)", False),
        ("wrong number of arguments", False),
    ],
)
def test_an_outage_is_told_by_its_code_alone_or_in_a_pipeline(told: str, is_outage: bool) -> None:
    with (
        pytest.raises(UnavailableError if is_outage else ResponseError),
        translated("redis://host/0", "try"),
    ):
        raise ResponseError(told)


def test_behind_one_address_the_new_primary_is_found_after_a_change_of_roles(tmp_path: Path, submit: Submit) -> None:
    """As behind a name or a proxy that follows the primary: nothing cuts the connections to the old one."""
    first, second = fleet.free_ports(2)
    with contextlib.ExitStack() as running:
        directives = {"repl-diskless-sync-delay": "0"}
        running.enter_context(fleet.server(tmp_path / "first", first, directives))
        old = running.enter_context(Redis(port=first))
        wait_for(lambda: fleet.answers(old))
        following = directives | {"replicaof": f"127.0.0.1 {first}"}
        running.enter_context(fleet.server(tmp_path / "second", second, following))
        new = running.enter_context(Redis(port=second))
        wait_for(lambda: fleet.answers(new) and new.info("replication")["master_link_status"] == "up")
        address = running.enter_context(Network()).proxy(first)

        async def main() -> None:
            queue = await JobQueue.connect(f"redis://127.0.0.1:{address.port}/0", retry_delay_s=0.0)
            try:
                made = await submit(queue, request_id="before")
                claim = await queue.claim(WORKER)
                assert claim is not None
                await asyncio.gather(*(queue.get("acme", made.id) for _ in range(5)))
                old.execute_command("FAILOVER", "TO", "127.0.0.1", second)
                await asyncio.to_thread(wait_for, lambda: new.info("replication")["role"] == "master")
                with pytest.raises(UnavailableError, match="is a replica"):  # until the address follows
                    await queue.renew(claim)
                address.turn_to(second)
                before = reads_of(old)
                assert await queue.renew(claim)
                assert (await submit(queue, request_id="before")).id == made.id
                assert (await queue.succeed(claim, RESULT)).state is JobState.SUCCEEDED
                assert (await queue.get("acme", made.id)).state is JobState.SUCCEEDED
                assert reads_of(old) == before  # no replica is asked any more
            finally:
                await queue.close()

        asyncio.run(main())


def reads_of(server: Redis) -> int:
    return int(server.info("commandstats")["cmdstat_hgetall"]["calls"])


@contextlib.asynccontextmanager
async def line_that_breaks_off(url: str) -> AsyncIterator[tuple[str, list[int]]]:
    """It hangs up in the midst of answers, as often as the list counts down from."""
    left = [0]

    def half(request: bytes, reply: bytes) -> bytes | None:
        if not left[0] or b"HELLO" in request or b"CLIENT" in request:
            return None
        left[0] -= 1
        return reply[: len(reply) // 2]

    async with line_to(url, half) as line:
        yield line, left


def test_an_answer_that_breaks_off_is_asked_for_again(url: str, submit: Submit) -> None:
    async def main() -> None:
        async with line_that_breaks_off(url) as (line, left):
            queue = await JobQueue.connect(line)
            try:
                made = await submit(queue)
                left[0] = 1
                assert (await queue.get("acme", made.id)).id == made.id
                left[0] = 1
                claim = await queue.claim(WORKER)
                assert claim is not None
                left[0] = 1
                many = await asyncio.gather(*(queue.get("acme", made.id) for _ in range(20)))
                assert {job.attempt for job in many} == {1}
                left[0] = 1
                assert (await queue.succeed(claim, RESULT)).state is JobState.SUCCEEDED
                assert left == [0]
                events = await queue.events("acme", made.id, after_sequence=0)
                assert [event.kind for event in events] == ["queued", "claimed", "finished"]
            finally:
                await queue.close()

    asyncio.run(main())
