"""What the server may do to the queue: wrong settings, forgotten scripts, lost replies, death, a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from kdaif_server.embedded.valkey import EmbeddedValkey
from redis import Redis

from kdaif.errors import FailedPreconditionError, InvalidInputError, UnavailableError
from kdaif.queue import JobQueue
from kdaif.queue.address import without_password
from kdaif.records import JobResult, JobState, WorkerOffer
from tests.kdaif.queue.breaking_line import line_to

Play: TypeAlias = Callable[..., Any]
Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

RESULT = JobResult(1, (), "no difference", 1.0)


@pytest.mark.parametrize(
    ("directive", "bad", "good", "fix"),
    [
        ("appendonly", "no", "yes", "--appendonly yes"),
        ("appendfsync", "everysec", "always", "--appendfsync always"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "--maxmemory-policy noeviction"),
    ],
)
def test_q12_a_server_that_may_lose_jobs_is_refused(url: str, directive: str, bad: str, good: str, fix: str) -> None:
    async def connect(require_durable: bool) -> tuple[str, ...]:
        queue = await JobQueue.connect(url, require_durable=require_durable)
        await queue.close()
        return queue.durability.faults

    with Redis.from_url(url) as redis:
        redis.config_set(directive, bad)
        try:
            with pytest.raises(FailedPreconditionError, match=directive) as caught:
                asyncio.run(connect(require_durable=True))
            assert fix in str(caught.value)
            assert "--accept-redis-that-may-lose-jobs" in str(caught.value)
            [fault] = asyncio.run(connect(require_durable=False))
            assert fix in fault
        finally:
            redis.config_set(directive, good)
    assert asyncio.run(connect(require_durable=True)) == ()


def test_a_server_that_does_not_show_its_settings_leaves_a_doubt(url: str) -> None:
    async def connect(password_url: str) -> tuple[str, ...]:
        queue = await JobQueue.connect(password_url)
        await queue.close()
        return queue.durability.doubts

    with Redis.from_url(url) as redis:
        redis.acl_setuser(
            "guest", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"], keys=["*"]
        )
        try:
            [doubt] = asyncio.run(connect(f"{url}?username=guest&password=pw"))
        finally:
            redis.execute_command("ACL", "DELUSER", "guest")
    assert "appendfsync cannot be read" in doubt


def test_a_full_memory_is_unavailable_and_reading_goes_on(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        made = await submit(queue)
        raw.config_set("maxmemory", "1")
        try:
            with pytest.raises(UnavailableError, match="submit a job"):
                await submit(queue)
            assert (await queue.get("acme", made.id)) == made
        finally:
            raw.config_set("maxmemory", "0")
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        assert claim.job.id == made.id

    play(scenario)


def test_a_forgotten_script_is_loaded_again(play: Play, submit: Submit, raw: Redis) -> None:
    async def scenario(queue: JobQueue) -> None:
        raw.script_flush()
        made = await submit(queue)
        raw.script_flush()
        claim = await queue.claim(WorkerOffer("w"))
        raw.script_flush()
        assert await queue.renew(claim)
        raw.script_flush()
        assert (await queue.succeed(claim, RESULT)).id == made.id

    play(scenario)


@contextlib.asynccontextmanager
async def line_that_drops_a_reply(url: str, to: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """It hangs up once, when the server has answered a request that contains ``to``."""
    dropped: list[bytes] = []

    def nothing(request: bytes, reply: bytes) -> bytes | None:
        if to not in request or dropped or reply.startswith(b"-NOSCRIPT"):
            return None
        dropped.append(reply)
        return b""

    async with line_to(url, nothing) as line:
        yield line, dropped


@pytest.mark.parametrize("step", ["submit", "claim", "publish", "succeed", "retry"])
def test_q7_a_lost_reply_changes_nothing(url: str, submit: Submit, step: str) -> None:
    marks = {
        "submit": b"request-1",
        "claim": b"worker-1\r\n$5\r\n60000",  # with the lease: before it, the worker's name alone is asked about
        "publish": b"\r\nround\r\n",
        "succeed": b"verdict-1",
        "retry": b"",
    }

    async def main() -> None:
        direct = await JobQueue.connect(url)
        if step == "retry":
            made = await submit(direct)
            await direct.cancel("acme", made.id)
            marks["retry"] = made.id.encode()
        async with line_that_drops_a_reply(url, marks[step]) as (line_url, dropped):
            queue = await JobQueue.connect(line_url)
            made = await (queue.retry("acme", made.id) if step == "retry" else submit(queue, request_id="request-1"))
            following = await submit(direct)
            claim = await queue.claim(WorkerOffer("worker-1"))
            assert claim is not None
            assert (claim.job.id, claim.token) == (made.id, 1)
            assert (await direct.get("acme", following.id)).state is JobState.QUEUED
            await queue.publish(claim, "round", metrics={"loss": 0.5})
            await queue.succeed(claim, JobResult(1, (), "verdict-1", 1.0))
            await queue.close()
        assert len(dropped) == 1
        kinds = [event.kind for event in await direct.events("acme", made.id, after_sequence=0)]
        before = ["queued", "finished"] if step == "retry" else []
        assert kinds == [*before, "queued", "claimed", "round", "finished"]
        assert len((await direct.list("acme", limit=10))[0]) == 2
        await direct.close()

    asyncio.run(main())


def test_no_server_is_unavailable_and_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port}") as caught:
        asyncio.run(JobQueue.connect(f"redis://user:secret@127.0.0.1:{port}/0"))
    assert "secret" not in str(caught.value)
    with pytest.raises(UnavailableError, match=r"nobody\.sock"):
        asyncio.run(JobQueue.connect(f"unix://{tmp_path}/nobody.sock"))
    with pytest.raises(InvalidInputError, match="redis_url"):
        asyncio.run(JobQueue.connect("localhost:6379"))


def test_passwords_stay_out_of_messages() -> None:
    assert without_password("redis://:pw@host:1/0") == "redis://***@host:1/0"
    assert without_password("rediss://host/0?password=pw") == "rediss://host/0"
    assert without_password("unix:///run/v.sock?password=pw") == "unix:///run/v.sock"


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Path | None:
    return request.getfixturevalue("redis_server_binary") if request.param == "redis" else None


def test_q12_what_was_acknowledged_outlives_kill_9(tmp_path: Path, submit: Submit, binary: Path | None) -> None:
    async def main() -> None:
        server = EmbeddedValkey(tmp_path, binary=binary)
        server.start()
        queue = await JobQueue.connect(server.url)
        acknowledged: list[str] = []

        async def keep_submitting() -> None:
            with contextlib.suppress(UnavailableError):
                while True:
                    acknowledged.append((await submit(queue)).id)
                    if len(acknowledged) == 50:
                        os.kill(server.pid, signal.SIGKILL)

        await asyncio.gather(*(keep_submitting() for _ in range(4)))
        with pytest.raises(UnavailableError):
            await queue.claim(WorkerOffer("w"))
        server.stop()
        server.start()
        # The same queue goes on by itself.
        kept = {job.id for job in (await queue.list("acme", limit=1000))[0]}
        assert len(acknowledged) >= 50
        assert set(acknowledged) <= kept
        claim = await queue.claim(WorkerOffer("w"))
        assert claim is not None
        assert claim.job.id in kept
        await queue.close()
        server.stop()

    asyncio.run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a small tmpfs needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_q12_a_full_disk_is_unavailable_and_loses_nothing(
    small_disk: Path, submit: Submit, tmp_path: Path, binary: Path | None
) -> None:
    async def main() -> None:
        acknowledged: list[str] = []
        with EmbeddedValkey(small_disk, binary=binary) as server:
            queue = await JobQueue.connect(server.url)

            async def fill() -> None:
                while len(acknowledged) < 5000:
                    acknowledged.append((await submit(queue)).id)

            with pytest.raises(UnavailableError, match="submit a job"):
                await fill()
            await queue.close()
        assert acknowledged
        larger = tmp_path / "larger"
        shutil.copytree(small_disk, larger)
        with EmbeddedValkey(larger, binary=binary) as server:
            queue = await JobQueue.connect(server.url)
            kept: list[str] = []
            cursor = ""
            while True:
                page, cursor = await queue.list("acme", limit=200, cursor=cursor)
                kept += [job.id for job in page]
                if not cursor:
                    break
            assert set(acknowledged) <= set(kept)
            await queue.close()

    asyncio.run(main())


@pytest.mark.slow
def test_q6_a_server_that_does_not_answer_is_unavailable_in_bounded_time(tmp_path: Path) -> None:
    async def main() -> None:
        with EmbeddedValkey(tmp_path) as server:
            queue = await JobQueue.connect(server.url)
            os.kill(server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(UnavailableError):
                    await asyncio.wait_for(queue.ping(), 20)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await queue.ping()
            await queue.close()

    asyncio.run(main())


def test_scripts_stay_in_one_slot(tmp_path: Path, submit: Submit, until: Until, binary: Path | None) -> None:
    """One node with all slots: it refuses a script whose keys lie in two."""

    async def main(url: str) -> None:
        queue = await JobQueue.connect(url)
        for tenant in ("a", "b"):
            made = await submit(queue, tenant)
            claim = await queue.claim(WorkerOffer("w"))
            assert claim is not None
            await queue.renew(claim)
            await queue.publish(claim, "progress")
            await queue.reap()
            await queue.cancel(tenant, made.id)
            await queue.succeed(claim, RESULT)
            await queue.retry(tenant, made.id)
            claim = await queue.claim(WorkerOffer("w"))
            assert claim is not None
            assert (await queue.succeed(claim, RESULT)).state is JobState.SUCCEEDED
            assert len(await queue.wait_events(tenant, made.id, after_sequence=0, timeout_s=1)) == 8
        await queue.close()

    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    directives = {"cluster-enabled": "yes", "bind": "127.0.0.1", "port": str(ports[0]), "cluster-port": str(ports[1])}
    with EmbeddedValkey(tmp_path, binary=binary, directives=directives) as server:
        with Redis.from_url(server.url, decode_responses=True) as redis:
            redis.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)

            async def serves() -> bool:
                info: Any = redis.execute_command("CLUSTER INFO")
                return bool(info["cluster_state"] == "ok")

            asyncio.run(until(serves))
        asyncio.run(main(server.url))
