"""Workers and children that die, jobs that are cancelled or run too long."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from kdaif_client import Client, Job, JobEvent, JobFailed, JobState, Mlp, TrainedTeacher, Training

from tests.e2e.conftest import LEASE_TTL_S, Stack
from tests.e2e.digits import upload_digits
from tests.waiting import wait_for

LONG = Training(rounds=400, epochs_per_round=4, seeds=1)


def submit(client: Client, training: Training, **more: object) -> Job:
    return client.submit(
        **upload_digits(client).roles(),
        teacher=TrainedTeacher(Mlp((256, 128)), epochs=5),
        student=Mlp(hidden_sizes=(16,)),
        training=training,
        control_arms=("uniform",),
        **more,
    )


def first(job: Job, kind: str) -> JobEvent:
    return next(event for event in job.watch() if event.kind == kind)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_running_job_is_cancelled_within_two_seconds(stack: Stack, client: Client) -> None:
    job = submit(client, LONG)
    first(job, "round")
    child = stack.training_child()
    asked = time.monotonic()
    job.cancel()
    wait_for(lambda: job.refresh().state is JobState.CANCELLED and gone(child), timeout_s=10)
    assert time.monotonic() - asked < 2.0
    with pytest.raises(JobFailed, match="CANCELLED"):
        job.wait()


def test_q5_a_job_past_its_deadline_failed_and_was_not_cancelled(client: Client) -> None:
    job = submit(client, LONG, max_runtime_s=5)
    with pytest.raises(JobFailed, match="DEADLINE"):
        job.wait(timeout_s=40)
    assert job.refresh().state is JobState.FAILED


@pytest.mark.timeout(300)  # three children start, on a machine that may be busy
def test_a_killed_child_ends_in_the_same_job_finishing_on_the_next_attempt(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    ten_rounds = Training(rounds=10, epochs_per_round=1, seeds=1)
    job = submit(client, ten_rounds)
    first(job, "round")
    stack.training_child().send_signal(signal.SIGKILL)
    job.wait(timeout_s=90)
    assert job.info.attempt == 2
    events = list(job.watch())
    requeued = next(event for event in events if event.kind == "requeued")
    assert requeued.failure is not None
    assert requeued.failure.reason == "CRASHED"
    # It went on from its checkpoint: at most the round that the kill cut off was done twice.
    done = [(event.progress.arm, event.progress.round) for event in events if event.kind == "round" and event.progress]
    assert set(done) == {(arm, number) for arm in ("influence", "uniform") for number in range(1, 11)}
    assert len(done) <= 21
    assert len({weight.round for weight in job.weights(round=1, limit=3)}) == 1
    # All that it lost was time: the student is that of a job which nobody killed.
    unharmed = submit(client, ten_rounds)
    unharmed.wait(timeout_s=90)
    assert unharmed.info.attempt == 1
    rows = upload_digits(client).test_images
    given = [
        each.download_student(tmp_path / each.name.rpartition("/")[2]).predict_proba(rows) for each in (job, unharmed)
    ]
    np.testing.assert_allclose(*given, rtol=0, atol=1e-6)


def test_q3_a_killed_supervisor_takes_its_child_along_and_the_job_comes_back(own_stack: Stack) -> None:
    with Client(own_stack.target) as client:
        job = submit(client, Training(rounds=20, epochs_per_round=1, seeds=1))
        first(job, "round")
        child = own_stack.training_child()
        own_stack.worker().send_signal(signal.SIGKILL)
        wait_for(lambda: gone(child), timeout_s=2)
        killed = time.monotonic()
        wait_for(lambda: job.refresh().info.attempt == 2, timeout_s=4 * LEASE_TTL_S)
        assert time.monotonic() - killed < 3 * LEASE_TTL_S
        job.wait(timeout_s=90)
        assert job.info.attempt == 2


def test_a_stack_that_is_stopped_leaves_no_process_and_goes_on_where_it_was(own_stack: Stack) -> None:
    with Client(own_stack.target) as client:
        job = submit(client, LONG)
        first(job, "round")
        family = [
            own_stack.process.pid,
            *(p.pid for p in psutil.Process(own_stack.process.pid).children(recursive=True)),
        ]
        assert len(family) >= 4  # server, Valkey, worker, child
    own_stack.process.send_signal(signal.SIGINT)
    assert own_stack.process.wait(30) == 0
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family), timeout_s=5)


def test_a_worker_told_to_stop_right_after_its_claim_ends_and_gives_the_job_back(own_stack: Stack) -> None:
    with Client(own_stack.target) as client:
        for name in ("first", "second", "third"):
            job = submit(client, LONG, display_name=name)
            own_stack.training_child()
            worker = own_stack.worker()
            worker.send_signal(signal.SIGTERM)
            wait_for(lambda worker=worker: gone(worker), timeout_s=5)
            assert job.refresh().state in (JobState.QUEUED, JobState.RUNNING)  # back at once, not after its lease
            job.cancel()
            wait_for(lambda job=job: job.refresh().state is JobState.CANCELLED)
