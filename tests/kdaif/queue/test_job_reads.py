"""Jobs are read together, and none is older than its caller."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from kdaif.errors import NotFoundError, UnavailableError
from kdaif.queue import JobQueue, kept_connection
from kdaif.records import DistillationSpec, JobState, PreflightReport

SPEC = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)


def test_many_readers_share_a_message_and_see_every_change(valkey_url: str) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(valkey_url)
        try:
            ids = [(await queue.submit("t", SPEC, PreflightReport(()), request_id=f"r{n}")).id for n in range(3)]
            await queue.get("t", ids[0])
            before = (await queue._redis.info("stats"))["total_reads_processed"]
            found = await asyncio.gather(*(queue.get("t", job_id) for job_id in ids * 20))
            messages = (await queue._redis.info("stats"))["total_reads_processed"] - before
            assert [job.id for job in found] == ids * 20
            assert messages <= 6  # one for the first, one for the others, and that question itself
            assert await queue.get("t", ids[0]) is found[0]  # unchanged, so not even decoded again
            await queue.cancel("t", ids[0])
            assert (await queue.get("t", ids[0])).state is JobState.CANCELLED
        finally:
            await queue.close()

    asyncio.run(main())


def test_a_reader_that_is_missing_or_gone_harms_no_other(valkey_url: str) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(valkey_url)
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            gone, stays, missing = (asyncio.create_task(queue.get("t", name)) for name in (job_id, job_id, "nobody"))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await stays).id == job_id
            with pytest.raises(NotFoundError):
                await missing
            with pytest.raises(asyncio.CancelledError):
                await gone
        finally:
            await queue.close()

    asyncio.run(main())


def test_a_connection_that_was_cut_is_not_noticed(valkey_url: str) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(valkey_url)
        killer = Redis.from_url(valkey_url)
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            for _ in range(3):
                assert (await queue.get("t", job_id)).id == job_id
                await killer.client_kill_filter(_type="normal", skipme=True)
            found = await asyncio.gather(*(queue.get("t", job_id) for _ in range(50)))
            assert {job.id for job in found} == {job_id}
        finally:
            await killer.aclose()
            await queue.close()

    asyncio.run(main())


def test_a_server_that_does_not_answer_is_told_in_time(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connection, "SOCKET_TIMEOUT_S", 0.2)

    async def main() -> None:
        queue = await JobQueue.connect(valkey_url)
        pauser = Redis.from_url(valkey_url)
        try:
            job_id = (await queue.submit("t", SPEC, PreflightReport(()), request_id="r")).id
            assert (await queue.get("t", job_id)).id == job_id
            await pauser.client_pause(1_000)
            with pytest.raises(UnavailableError, match="Timeout reading"):
                await queue.get("t", job_id)
            await pauser.client_unpause()
            assert (await queue.get("t", job_id)).id == job_id
        finally:
            await pauser.aclose()
            await queue.close()

    asyncio.run(main())
