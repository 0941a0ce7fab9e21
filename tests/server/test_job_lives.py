"""Reviews and deletes through a real server, with the SDK in front and the queue behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kdaif_client import Client, JobState
from kdaif_client.errors import FailedPrecondition, NotFound
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings

from kdaif.errors import FailureReason
from kdaif.queue import JobQueue
from kdaif.records import DistillationSpec, Failure, JobResult, PreflightReport, Scheduling, WorkerOffer

SPEC = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, scheduling=Scheduling(deadline_s=3600))


def test_a_job_is_reviewed_and_deleted_through_the_server(valkey_url: str, tmp_path: Path) -> None:
    async def hold(queue: JobQueue) -> str:
        job = await queue.submit("default", SPEC, PreflightReport(), request_id="")
        claim = await queue.claim(WorkerOffer("w1"))
        assert claim is not None
        await queue.await_review(claim, "weights collapsed")
        return job.id

    def use(port: int, job_ids: list[str]) -> None:
        with Client(f"127.0.0.1:{port}") as client:
            waiting = list(client.list_jobs(states=["awaiting_review"]))
            assert {job.name.rpartition("/")[2] for job in waiting} == set(job_ids)
            resumed, rejected, cancelled = (client.get_job(job_id) for job_id in job_ids)
            assert rejected.info.failure is not None
            assert (rejected.info.failure.reason, rejected.info.failure.message) == ("REVIEW", "weights collapsed")
            assert rejected.info.worker == "w1"
            assert rejected.info.deadline_time is not None
            with pytest.raises(FailedPrecondition, match="AWAITING_REVIEW; only a job that is SUCCEEDED"):
                rejected.delete()
            assert resumed.resume().state is JobState.QUEUED
            with pytest.raises(FailedPrecondition, match="QUEUED; only a job that is AWAITING_REVIEW"):
                resumed.resume()
            failed = rejected.reject("the canary is dead").info
            assert failed.failure is not None
            assert (failed.state, failed.failure.message) == (JobState.FAILED, "the canary is dead")
            assert cancelled.cancel().state is JobState.CANCELLED
            rejected.delete()
            with pytest.raises(NotFound):
                rejected.refresh()
            assert len(list(client.list_jobs())) == 2

    async def run() -> None:
        queue = await JobQueue.connect(valkey_url)
        settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)
        try:
            async with running_server(settings) as server:
                ids = [await hold(queue) for _ in range(3)]
                await asyncio.to_thread(use, server.port, ids)
                # The worker of the resumed job learns the rest; its log goes with the failure to the user.
                claim = await queue.claim(WorkerOffer("w2"))
                assert claim is not None
                assert claim.job.id == ids[0]
                failure = Failure(FailureReason.CRASHED, "exit code 1", retryable=False, log_tail="Traceback ...")
                await queue.fail(claim, failure)
                await asyncio.to_thread(shows_log, server.port, ids[0])
        finally:
            await queue.close()

    def shows_log(port: int, job_id: str) -> None:
        with Client(f"127.0.0.1:{port}") as client:
            failed = client.get_job(job_id).info.failure
            assert failed is not None
            assert failed.log_tail == "Traceback ..."

    asyncio.run(run())


def test_q8_a_succeeded_job_takes_no_further_word(valkey_url: str, tmp_path: Path) -> None:
    """Q8: its worker died between the finish and the clean-up; whatever anybody asks then, it stays SUCCEEDED."""

    def use(port: int, job_id: str) -> None:
        with Client(f"127.0.0.1:{port}") as client:
            job = client.get_job(job_id)
            for ask in (job.cancel, job.retry, job.resume, job.reject):
                with pytest.raises(FailedPrecondition, match="SUCCEEDED"):
                    ask()
            assert job.refresh().state is JobState.SUCCEEDED

    async def run() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=0.2)
        settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path, lease_ttl_s=0.2)
        try:
            job = await queue.submit("default", SPEC, PreflightReport(), request_id="")
            claim = await queue.claim(WorkerOffer("w1"))
            assert claim is not None
            await queue.succeed(claim, JobResult(1, (), "v", 1.0))
            async with running_server(settings) as server:  # whose reaper looks several times meanwhile
                await asyncio.to_thread(use, server.port, job.id)
                kinds = [event.kind for event in await queue.events("default", job.id, after_sequence=0)]
                assert kinds == ["queued", "claimed", "finished"]
        finally:
            await queue.close()

    asyncio.run(run())
