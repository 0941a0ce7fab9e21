"""Jobs are read together, and none is older than its caller."""

from __future__ import annotations

import asyncio

import pytest

from kdaif.errors import NotFoundError
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, JobState, PreflightReport

SPEC = DistillationSpec(labeled="0" * 32, unlabeled="1" * 32)


def test_many_readers_share_a_message_and_see_every_change(valkey_url: str) -> None:
    async def main() -> None:
        queue = await JobQueue.connect(valkey_url)
        try:
            ids = [(await queue.submit("t", SPEC, PreflightReport(()), request_id=f"r{n}")).id for n in range(3)]
            await queue.get("t", ids[0])
            sent_before = (await queue._redis.info("commandstats"))["cmdstat_hgetall"]["calls"]
            found = await asyncio.gather(*(queue.get("t", job_id) for job_id in ids * 20))
            sent = (await queue._redis.info("commandstats"))["cmdstat_hgetall"]["calls"] - sent_before
            assert [job.id for job in found] == ids * 20
            assert sent <= 2 * len(ids)
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
