"""What only coroutines can ask for; all else is in the suites that run with both clients."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from kdaif_client import AsyncClient, AsyncJob, JobState
from kdaif_client.errors import InvalidArgument
from kdaif_proto.v1 import jobs_pb2 as jb

from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
JOB = f"{PARENT}/distillationJobs/j1"


def test_many_watches_share_one_loop_with_calls(server: SmallServer) -> None:
    async def watched(client: AsyncClient, name: str) -> list[int]:
        job = await client.get_job(name)
        return [event.sequence async for event in job.watch()]

    async def main() -> list[list[int]]:
        async with AsyncClient(server.target) as client:
            watches = [asyncio.create_task(watched(client, f"j{number}")) for number in range(8)]
            await asyncio.to_thread(wait_for, lambda: server.state.calls["WatchDistillationJob"] == 8)
            assert [job.state async for job in client.list_jobs(limit=1)] == [JobState.QUEUED]
            for number in range(8):
                await asyncio.to_thread(
                    server.state.tell, f"{PARENT}/distillationJobs/j{number}", "finished", jb.JOB_STATE_CANCELLED
                )
            return await asyncio.gather(*watches)

    for number in range(8):
        server.state.add_job(f"j{number}")
    assert asyncio.run(main()) == [[1]] * 8


def test_cancelling_a_task_ends_its_watch_and_nothing_else(server: SmallServer) -> None:
    server.state.add_job("j1")
    server.state.tell(JOB, "queued", jb.JOB_STATE_QUEUED)

    async def main() -> AsyncJob:
        async with AsyncClient(server.target) as client:
            job = await client.get_job("j1")
            seen = asyncio.Event()

            async def watch() -> None:
                async for _event in job.watch():
                    seen.set()

            task = asyncio.create_task(watch())
            await asyncio.wait_for(seen.wait(), 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(job.wait(), 0.2)
            return await job.refresh()

    assert asyncio.run(main()).state is JobState.QUEUED
    assert server.state.calls["WatchDistillationJob"] == 2


def test_a_call_that_the_server_cancels_is_sent_again(server: SmallServer) -> None:
    server.state.add_job("j1")
    server.state.cancelled["GetDistillationJob"] = 1

    async def main() -> AsyncJob:
        async with AsyncClient(server.target) as client:
            return await client.get_job("j1")

    assert asyncio.run(main()).state is JobState.QUEUED
    assert server.state.calls["GetDistillationJob"] == 2


def test_an_async_client_needs_a_loop(server: SmallServer) -> None:
    with pytest.raises(InvalidArgument, match="async with AsyncClient"):
        AsyncClient(server.target)


def test_the_blocking_client_is_what_the_async_one_makes() -> None:
    command = [sys.executable, "tools/generate_blocking.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
