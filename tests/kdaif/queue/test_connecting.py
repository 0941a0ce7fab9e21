"""Every kind of URL against real servers: TLS, an ACL user, Sentinel through a failover, a three-node Cluster."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from redis import Redis

from kdaif.errors import FailedPreconditionError, FailureReason, InvalidInputError, NotFoundError, UnavailableError
from kdaif.queue import JobQueue
from kdaif.queue.address import Address, Topology, parse, without_password
from kdaif.records import (
    Failure,
    JobResult,
    JobState,
    Progress,
    Scheduling,
    Shard,
    WorkerMode,
    WorkerOffer,
)
from tests.kdaif.queue import fleet
from tests.waiting import wait_for

Submit: TypeAlias = Callable[..., Any]
Until: TypeAlias = Callable[..., Any]

WORKER = WorkerOffer("w", gpus=1)
RESULT = JobResult(1, (), "no difference", 1.0)
CRASH = Failure(FailureReason.CRASHED, "exit code 139", retryable=True)


async def whole_life(queue: JobQueue, submit: Submit, tenants: Sequence[str]) -> None:
    """Every method once, in every tenant: with some keys of each slot."""
    for tenant in tenants:
        made = await submit(queue, tenant, request_id="r", scheduling=Scheduling(deadline_s=3600))
        assert (await submit(queue, tenant, request_id="r", scheduling=Scheduling(deadline_s=3600))).id == made.id
        await submit(queue, tenant, scheduling=Scheduling(gpus=1, priority=-1))
    claims = [await queue.claim(WORKER) for _ in tenants]
    assert sorted(claim.job.tenant for claim in claims) == sorted(tenants)  # fair shares, over all nodes
    for claim in claims:
        tenant, job_id = claim.job.tenant, claim.job.id
        assert await queue.renew(claim)
        await queue.publish(claim, "progress", Progress("load", 0.1))
        assert (await queue.fail(claim, CRASH)).state is JobState.QUEUED
        while (again := await queue.claim(WORKER)).job.id != job_id:
            await queue.succeed(again, RESULT)
        await queue.await_review(again, "look")
        assert (await queue.resume(tenant, job_id)).state is JobState.QUEUED
        while (again := await queue.claim(WORKER)).job.id != job_id:
            await queue.succeed(again, RESULT)
        shards = [Shard(job_id, number, 2, number - 1, number, "ab" * 32, "cd" * 32) for number in (1, 2)]
        await queue.shards.submit(again, shards, cut=1, release="r")
        assert (await queue.shards.work(again, "w")).to_score == shards[0]
        await queue.give_back(again, "stopped")
        await queue.cancel(tenant, job_id)
        events = await queue.wait_events(tenant, job_id, after_sequence=0, timeout_s=5)
        assert events[-1].kind == "finished"
        assert await queue.wait_events(tenant, job_id, after_sequence=len(events), timeout_s=0.05) == []
        assert [job.id for job in (await queue.list(tenant, limit=9, states=frozenset({JobState.CANCELLED})))[0]] == [
            job_id
        ]
    while (rest := await queue.claim(WORKER)) is not None:
        await queue.succeed(rest, RESULT)
    assert await queue.reap() == []
    assert await queue.announce(WORKER) is WorkerMode.ACTIVE
    await queue.pause_worker("w")
    assert [worker.mode for worker in await queue.workers()] == [WorkerMode.PAUSED]
    assert await queue.claim(WORKER) is None
    await queue.unpause_worker("w")
    snapshots = await queue.unsaved(100)
    assert len(snapshots) == 2 * len(tenants)
    for snapshot in snapshots:
        job = snapshot.job
        await queue.saved(job.tenant, job.id, snapshot.version)
        await queue.delete(job.tenant, job.id)
        with pytest.raises(NotFoundError):
            await queue.get(job.tenant, job.id)
        assert await queue.restore(snapshot) is False
        await queue.erased(job.tenant, job.id)
        assert await queue.restore(snapshot) is True
    assert {snapshot.job.state for snapshot in await queue.unsaved(100)} == {JobState.CANCELLED}
    assert len(await queue.ended_before(2**60, 100)) == 2 * len(tenants)


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Sequence[Redis]]]:
    with fleet.cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def test_a_three_node_cluster_runs_every_method(three_nodes: tuple[str, Sequence[Redis]], submit: Submit) -> None:
    url, nodes = three_nodes
    tenants = [f"tenant-{number}" for number in range(6)]

    async def main() -> None:
        queue = await JobQueue.connect(url, retry_delay_s=0.0)
        try:
            await whole_life(queue, submit, tenants)
        finally:
            await queue.close()

    asyncio.run(main())
    assert all(node.dbsize() for node in nodes)  # the tenants lie on all of them
    keys = [key for node in nodes for key in node.keys("*")]
    for tenant in tenants:
        assert (
            len(
                {
                    node.execute_command("CLUSTER", "KEYSLOT", key)
                    for node in nodes
                    for key in keys
                    if f"{{{tenant}}}" in key
                }
            )
            == 1
        )


def test_one_node_of_a_cluster_that_may_lose_jobs_is_enough_to_refuse_it(
    three_nodes: tuple[str, Sequence[Redis]],
) -> None:
    url, nodes = three_nodes
    nodes[2].config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(FailedPreconditionError, match="maxmemory-policy is allkeys-lru"):
            asyncio.run(JobQueue.connect(url))
    finally:
        nodes[2].config_set("maxmemory-policy", "noeviction")


def test_sentinels_name_the_new_primary_after_a_failover(tmp_path: Path, submit: Submit, until: Until) -> None:
    async def main() -> None:
        with fleet.watched_pair(tmp_path) as (url, (primary, _), watcher):
            queue = await JobQueue.connect(url, retry_delay_s=0.0)
            try:
                await whole_life(queue, submit, ["acme"])
                made = await submit(queue, request_id="before")
                claim = await queue.claim(WORKER)
                with Redis(
                    port=(await asyncio.to_thread(watcher.sentinel_master, "kdaif"))["port"], password="pw"
                ) as old:
                    assert old.wait(1, 5000) == 1  # the replica has it
                    was = old.connection_pool.connection_kwargs["port"]
                primary.kill()
                await asyncio.to_thread(wait_for, lambda: watcher.sentinel_get_master_addr_by_name("kdaif")[1] != was)

                async def renewed() -> bool:
                    try:
                        return await queue.renew(claim)
                    except UnavailableError:
                        return False

                await until(renewed)
                assert (await submit(queue, request_id="before")).id == made.id
                assert (await queue.succeed(claim, RESULT)).state is JobState.SUCCEEDED
            finally:
                await queue.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_user_with_few_rights_over_tls(tmp_path: Path, redis_server_binary: Path, submit: Submit) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, so there is no certificate; 'apt-get install openssl' brings it")
    made, key = fleet.certificate(tmp_path)
    [port] = fleet.free_ports(1)
    rights = "on >pw ~kdaif:* +@all -@dangerous -@admin +info +config|get"
    directives = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(made),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(made),
        "tls-auth-clients": "no",
        "user default": "off",
        "user kdaif": rights,
    }
    at = f"127.0.0.1:{port}/0"
    trusting = f"?ssl_ca_certs={made}"

    async def main() -> None:
        queue = await JobQueue.connect(f"rediss://kdaif:pw@{at}{trusting}", retry_delay_s=0.0)
        try:
            assert queue.durability.doubts == ()
            await whole_life(queue, submit, ["acme", "other"])
        finally:
            await queue.close()
        for wrong, told in (
            (f"rediss://kdaif:pw@{at}", "certificate"),  # signed by nobody whom this machine trusts
            (f"rediss://kdaif:no@{at}{trusting}", "WRONGPASS|invalid username-password"),
            (f"redis://kdaif:pw@{at}", "does not serve"),
        ):
            with pytest.raises(UnavailableError, match=told) as caught:
                await JobQueue.connect(wrong)
            assert "kdaif:" not in str(caught.value)

    with fleet.server(tmp_path / "server", port, directives, binary=redis_server_binary):
        with Redis("127.0.0.1", port, ssl=True, ssl_ca_certs=str(made), username="kdaif", password="pw") as client:
            wait_for(lambda: fleet.answers(client))
        asyncio.run(main())


def test_addresses_are_read() -> None:
    assert parse("redis://:pw@h:1/2") == parse("unix:///run/v.sock?db=1") == Address(Topology.ONE_SERVER)
    behind = parse(
        "rediss+sentinel://me:p%40w@a,[::1]:7/main/3?ssl_ca_certs=/ca&sentinel_username=s&sentinel_password=t"
    )
    assert (behind.topology, behind.hosts, behind.service) == (Topology.SENTINEL, (("a", 26379), ("::1", 7)), "main")
    assert behind.is_tls
    assert dict(behind.options) == {"username": "me", "password": "p@w", "ssl_ca_certs": "/ca", "db": 3}
    assert dict(behind.sentinel_options) == {"username": "s", "password": "t"}
    nodes = parse("redis+cluster://a:1,b")
    assert (nodes.topology, nodes.hosts, nodes.is_tls) == (Topology.CLUSTER, (("a", 1), ("b", 6379)), False)
    assert without_password("redis+cluster://u:pw@a:1,b:2") == "redis+cluster://***@a:1,b:2"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h", "scheme"),
        ("localhost:6379", "scheme"),
        ("redis+sentinel://h:1", "names no service"),
        ("redis+cluster://h:1/0", "has a path"),
        ("redis+cluster://h:x", "port"),
        ("redis+cluster://,h", "empty host"),
        ("redis://:secret@h?sll_ca_certs=/ca", "unknown option 'sll_ca_certs'"),
    ],
)
def test_a_wrong_url_is_refused_by_what_is_wrong(url: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        asyncio.run(JobQueue.connect(url))
    assert "secret" not in str(caught.value)
