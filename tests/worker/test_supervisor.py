"""What a supervisor makes of children that die, hang, grow and talk, and of a queue that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kdaif_worker import child_process
from kdaif_worker.attempt import end_all
from kdaif_worker.crash_loop import CrashLoop

from kdaif.errors import FailureReason
from kdaif.queue import JobQueue, connection, event_log
from kdaif.records import Failure, JobResult, JobState, Scheduling, WorkerOffer
from tests.waiting import wait_for
from tests.worker.swallowing_proxy import SwallowingProxy
from tests.worker.workplace import (
    answered,
    child_pid,
    events,
    reaping,
    socket_path,
    submit,
    until,
    wait_until,
    worker_process,
    workplace,
)

RESULT = JobResult(2, (), "no difference", 1.0)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_tasks_end_though_a_library_swallows_the_first_cancellation() -> None:
    async def swallow_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def run() -> None:
        tasks = {asyncio.create_task(swallow_one()), asyncio.create_task(asyncio.sleep(60))}
        await asyncio.sleep(0)
        await asyncio.wait_for(end_all(tasks), 5)
        assert all(task.done() for task in tasks)

    asyncio.run(run())


def test_a_poison_job_ends_dead_with_its_last_words_and_stops_nobody_else(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path) as place:
            poison = await place.submit("segfault", max_attempts=2)
            behind = await place.submit("succeed")
            dead = await place.until(poison, JobState.DEAD)
            assert (await place.until(behind, JobState.SUCCEEDED)).attempt == 1
            assert dead.attempt == 2
            assert dead.failure is not None
            assert dead.failure.reason is FailureReason.CRASHED
            assert "SIGSEGV" in dead.failure.message
            assert dead.failure.log_tail == "the last words of a child"

    asyncio.run(scenario())


def test_q1_q4_a_job_of_four_leases_whose_child_holds_the_gil_starts_once(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=0.5) as place:
            job = await place.submit("hold-gil 2")
            assert (await place.until(job, JobState.SUCCEEDED)).attempt == 1
            assert len(await events(place.queue, job, "claimed")) == 1

    asyncio.run(scenario())


def test_q5_what_runs_too_long_failed_and_was_not_cancelled(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=60.0) as place:
            before = psutil.Process().children()
            for limit, named in (
                ({"max_runtime_s": 1}, "max_runtime_s"),
                ({"scheduling": Scheduling(deadline_s=1)}, "deadline"),
            ):
                job = await place.submit("sleep 60", **limit)
                failed = await place.until(job, JobState.FAILED)
                assert failed.failure is not None
                assert failed.failure.reason is FailureReason.DEADLINE
                assert named in failed.failure.message
                # The queue may end an overdue job a moment before the worker does; its child is gone in a moment too.
                await wait_until(lambda: psutil.Process().children() == before)

    asyncio.run(scenario())


def test_q11_loaders_fork_in_a_child_without_grpc_or_redis(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("load-data", max_attempts=1)
            ended = await place.until(job, JobState.SUCCEEDED, JobState.DEAD, timeout_s=60)
            assert ended.failure is None, ended.failure.log_tail

    asyncio.run(scenario())


def test_a_child_that_outgrows_the_limit_is_killed_and_the_figure_told(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0, max_memory_mib=200) as place:
            job = await place.submit("grow")
            pid = await place.child_pid(job)
            failure = (await place.until(job, JobState.FAILED)).failure
            assert failure is not None
            assert failure.reason is FailureReason.OUT_OF_MEMORY
            held = int(failure.message.partition("held ")[2].partition(" MiB")[0])
            assert 200 < held < 1000
            assert "max_memory_mib is 200" in failure.message
            await wait_until(lambda: gone(pid))
            assert (await place.until(await place.submit("succeed"), JobState.SUCCEEDED)).attempt == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("kills", "reason"), [([3, 4], FailureReason.OUT_OF_MEMORY), ([3, 3], FailureReason.CRASHED)])
def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_any_other(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: list[int], reason: FailureReason
) -> None:
    counts = iter(kills)
    monkeypatch.setattr(child_process, "oom_kills", lambda: next(counts))

    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("sleep 60", max_attempts=1)
            os.kill(await place.child_pid(job), signal.SIGKILL)
            failure = (await place.until(job, JobState.DEAD)).failure
            assert failure is not None
            assert failure.reason is reason

    asyncio.run(scenario())


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 160 MiB."""
    root = Path("/sys/fs/cgroup/memory")
    if not os.access(root / "cgroup.procs", os.W_OK):
        pytest.skip("needs the rights of root and version 1 of the memory control groups")
    group = root / f"kdaif-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(160 << 20))
    yield group
    wait_for(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_real_kill_for_want_of_memory_is_told(valkey_url: str, tmp_path: Path, small_memory: Path) -> None:
    async def scenario() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=60.0)
        with worker_process(valkey_url, tmp_path, lease_ttl_s=60.0) as (process, _):
            (small_memory / "cgroup.procs").write_text(str(process.pid))
            job = await submit(queue, "grow", max_attempts=1)
            failure = (await until(queue, job, JobState.DEAD)).failure
            assert failure is not None
            assert failure.reason is FailureReason.OUT_OF_MEMORY
            assert "kernel" in failure.message
            assert process.poll() is None
        await queue.close()

    asyncio.run(scenario())


def test_a_child_that_falls_silent_crashed_and_a_helper_that_ran_away_holds_nobody_up(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_ENDS_WITHIN_S", 0.2)
    monkeypatch.setattr(child_process, "_STDERR_ENDS_WITHIN_S", 0.2)

    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            silent = await place.submit("fall-silent", max_attempts=1)
            failure = (await place.until(silent, JobState.DEAD)).failure
            assert failure is not None
            assert "without a last word" in failure.message
            orphan = await place.submit("orphan")
            await place.until(orphan, JobState.SUCCEEDED)
            (told,) = await events(place.queue, orphan, "round")
            assert told.progress is not None
            os.kill(told.progress.round, signal.SIGKILL)

    asyncio.run(scenario())


def test_a_child_has_no_secrets_to_leak_and_those_that_it_knows_are_blanked(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDAIF_REDIS_URL", "redis://worker:hunter2hunter2@queue:6379/0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")

    async def scenario() -> Failure | None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=4.0) as place:
            job = await place.submit("leak wJalrXUtnFEMI", max_attempts=1)
            return (await place.until(job, JobState.DEAD)).failure

    failure = asyncio.run(scenario())
    assert failure is not None
    assert "exit code 3" in failure.message
    assert "'PATH'" in failure.log_tail
    assert failure.log_tail.endswith("}; ***")
    assert "KDAIF_" not in failure.log_tail
    assert "AWS_" not in failure.log_tail  # the store is a local folder
    # What a killed child left in its temporary folder is gone with it.
    (folder,) = re.findall(r"'TMPDIR': '([^']*kdaif-child-[^']*)'", failure.log_tail)
    assert not Path(folder).exists()


def test_a_worker_that_is_stopped_gives_its_job_back_and_the_attempt_does_not_count(
    valkey_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with workplace(valkey_url, tmp_path, lease_ttl_s=60.0) as place:
            job = await place.submit("sleep 60", max_attempts=1)
            pid = await place.child_pid(job)
            place.stopping.set()
            assert (await place.until(job, JobState.QUEUED)).attempt == 1
            assert gone(pid)
            await asyncio.wait_for(place.running, 5)
            assert await place.queue.workers() == []
        async with workplace(valkey_url, tmp_path, lease_ttl_s=60.0) as place:
            await place.queue.cancel("acme", job.id)
            await place.until(job, JobState.CANCELLED)

    asyncio.run(scenario())


def test_different_jobs_that_die_at_once_make_the_worker_wait_and_say_so(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        crashes = CrashLoop(first_pause_s=600.0, jitter=lambda: 1.0)
        async with workplace(valkey_url, tmp_path, lease_ttl_s=0.4, crash_loop=crashes) as place:
            first, second = [await place.submit("segfault", max_attempts=1) for _ in range(2)]
            third = await place.submit("succeed")
            await place.until(first, JobState.DEAD)
            await place.until(second, JobState.DEAD)

            async def is_told() -> bool:
                return (await place.queue.workers())[0].note.startswith("2 jobs in a row")

            await answered(is_told)
            assert (await place.queue.get("acme", third.id)).state is JobState.QUEUED
            place.stopping.set()
            await asyncio.wait_for(place.running, 2)  # the pause ends with the worker

    asyncio.run(scenario())


def test_q6_a_dead_socket_makes_a_worker_not_ready_stop_its_child_and_come_back(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reply that is overdue counts as a dead connection after 5 s; a test has no time for that.
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT_S", 0.3)
    monkeypatch.setattr(event_log, "_BLOCK_S", 0.1)
    ready = tmp_path / "ready"
    ttl_s = 1.5

    async def scenario(proxy: SwallowingProxy) -> None:
        through = f"redis://127.0.0.1:{proxy.port}/0"
        async with workplace(valkey_url, tmp_path, lease_ttl_s=ttl_s, through=through, ready_file=ready) as place:
            job = await place.submit("sleep 2.5")
            pid = await place.child_pid(job)
            await wait_until(ready.exists)
            proxy.swallows = True
            lost = time.monotonic()
            await wait_until(lambda: gone(pid))
            # A renewal was acknowledged up to a quarter of the lease before; and it went on until the lease could end.
            assert 0.6 * ttl_s < time.monotonic() - lost < ttl_s + 1.0
            await wait_until(lambda: not ready.exists())
            assert not place.supervisor.is_ready
            proxy.swallows = False
            assert (await place.until(job, JobState.SUCCEEDED)).attempt == 2
            assert ready.exists()
        assert not ready.exists()

    with SwallowingProxy(socket_path(valkey_url)) as proxy:
        asyncio.run(scenario(proxy))


def test_a_result_waits_for_a_queue_that_is_away(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SOCKET_TIMEOUT_S", 0.3)
    monkeypatch.setattr(event_log, "_BLOCK_S", 0.1)

    async def scenario(proxy: SwallowingProxy) -> None:
        through = f"redis://127.0.0.1:{proxy.port}/0"
        async with workplace(valkey_url, tmp_path, lease_ttl_s=10.0, through=through) as place:
            job = await place.submit("sleep 0.5", max_attempts=1)
            pid = await place.child_pid(job)
            proxy.swallows = True
            await wait_until(lambda: gone(pid))
            await asyncio.sleep(0.7)  # past the first try to tell
            proxy.swallows = False
            assert (await place.until(job, JobState.SUCCEEDED)).attempt == 1

    with SwallowingProxy(socket_path(valkey_url)) as proxy:
        asyncio.run(scenario(proxy))


def test_q3_a_killed_supervisor_takes_its_child_along_and_the_job_is_back_within_a_lease(
    valkey_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=2.0, retry_delay_s=0.0)
        reaper = asyncio.create_task(reaping(queue))
        with worker_process(valkey_url, tmp_path, lease_ttl_s=2.0) as (process, _):
            job = await submit(queue, "sleep 60")
            pid = await child_pid(queue, job)
            process.kill()
            killed = time.monotonic()
            await wait_until(lambda: gone(pid), timeout_s=2)
            await until(queue, job, JobState.QUEUED)
            assert time.monotonic() - killed < 2.0 + 1.0  # the lease, and the reaper's round on a busy machine
        await end_all({reaper})
        await queue.close()

    asyncio.run(scenario())


def test_q2_a_worker_stopped_past_its_lease_notices_before_it_publishes_anything(
    valkey_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=1.0, retry_delay_s=0.0)
        with worker_process(valkey_url, tmp_path, lease_ttl_s=1.0) as (process, log):
            job = await submit(queue, "chatter")
            pid = await child_pid(queue, job)
            await wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
            process.send_signal(signal.SIGSTOP)
            await answered(queue.reap)
            claim = await queue.claim(WorkerOffer("w2"))
            assert claim is not None
            assert claim.token == 2
            process.send_signal(signal.SIGCONT)
            await wait_until(lambda: gone(pid))
            await wait_until(lambda: "fenced" in log.read_text())
            said = log.read_text()
            assert "may not renew the lease" in said
            assert "may not publish" not in said
            claimed_again = (await events(queue, job, "claimed"))[1].sequence
            later = await queue.events("acme", job.id, after_sequence=claimed_again)
            assert [event for event in later if event.attempt == 1] == []
            await queue.succeed(claim, RESULT)
        await queue.close()

    asyncio.run(scenario())


def test_a_second_signal_ends_a_worker_and_its_child_at_once(valkey_url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        queue = await JobQueue.connect(valkey_url, lease_ttl_s=60.0)
        with worker_process(valkey_url, tmp_path, lease_ttl_s=60.0) as (process, _):
            pid = await child_pid(queue, await submit(queue, "sleep 60"))
            # Nobody answers a worker that wants to give its job back.
            valkey = await queue._redis.info("server")
            os.kill(valkey["process_id"], signal.SIGSTOP)
            try:
                process.terminate()
                await wait_until(lambda: gone(pid))
                assert process.poll() is None
                process.terminate()
                assert process.wait(2) == 128 + signal.SIGTERM
            finally:
                os.kill(valkey["process_id"], signal.SIGCONT)
        await queue.close()

    asyncio.run(scenario())
