"""Valkey is killed and comes back: whoever is still at work keeps its job, whoever is not loses it one lease later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from kdaif_client import Client, JobState
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.settings import ServerSettings
from redis import Redis

from kdaif.queue import Claim, JobQueue
from kdaif.records import JobResult, WorkerOffer
from tests.server.serving import serving, submit, with_queue
from tests.waiting import wait_for

LEASE_S = 0.8


def claim_next(url: str) -> Claim:
    async def claim(queue: JobQueue) -> Claim | None:
        return await queue.claim(WorkerOffer("w"))

    found = with_queue(url, claim, lease_ttl_s=LEASE_S)
    assert found is not None
    return found


def renew(url: str, claim: Claim) -> bool:
    return with_queue(url, lambda queue: queue.renew(claim), lease_ttl_s=LEASE_S)


def looked_at_ms(url: str) -> int:
    """When a server last looked for expired leases."""
    with Redis.from_url(url) as redis:
        return int(redis.get("kdaif:{default}:reaped") or 0)


def test_leases_are_extended_once_after_an_outage(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        url = valkey.url
        settings = ServerSettings(port=0, redis_url=url, data_dir=tmp_path / "data", lease_ttl_s=LEASE_S)
        with serving(settings) as target, Client(target, patience_s=20) as client:
            jobs = [submit(client), submit(client)]
            alive, dead = claim_next(url), claim_next(url)
            wait_for(lambda: looked_at_ms(url))
            os.kill(valkey.pid, signal.SIGKILL)
            # By now both would have lost their jobs, had anybody been there to look.
            wait_for(lambda: time.time() * 1000 > dead.lease_expires_ms + LEASE_S * 500)
            valkey.stop()
            restarted_ms = time.time() * 1000
            valkey.start()
            wait_for(lambda: looked_at_ms(url) > restarted_ms)
            assert renew(url, alive)
            assert {job.refresh().state for job in jobs} == {JobState.RUNNING}
            wait_for(lambda: renew(url, alive) and jobs[1].refresh().state is JobState.QUEUED)
            done = with_queue(url, lambda queue: queue.succeed(alive, JobResult(1, (), "kept", 1.0)))
            assert (done.id, done.attempt) == (alive.job.id, 1)
            assert jobs[1].refresh().info.attempt == 1  # the next claim counts the second
