"""A job that two processes share, started by torchrun, in a real stack: the same student, and nobody left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from kdaif_client import Client, Job, Mlp, PlantedNoise, Student, TrainedTeacher, Training
from onnx import numpy_helper

from tests.e2e.conftest import Stack, running_stack
from tests.e2e.digits import upload_digits
from tests.waiting import wait_for

_TEACHER = TrainedTeacher(Mlp((32,)), epochs=5, planted_noise=PlantedNoise("symmetric", 0.2))


def short_job(client: Client, rounds: int) -> Job:
    return client.submit(
        **upload_digits(client).roles(),
        teacher=_TEACHER,
        student=Mlp(hidden_sizes=(32,)),
        training=Training(rounds=rounds, epochs_per_round=1, seeds=1),
    )


def processes_of(process: psutil.Process) -> list[psutil.Process]:
    """Those below it that torchrun started for a job."""
    found = []
    for below in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            command = below.cmdline()
            if "--host-rank" in command and not {"torch.distributed.run", "kdaif_worker.group"} & set(command):
                found.append(below)
    return found


def _ranks(stack: Stack) -> list[psutil.Process]:
    return processes_of(psutil.Process(stack.process.pid))


def trained(
    folder: Path, processes: int, monkeypatch: pytest.MonkeyPatch, shard_students: str = "auto"
) -> tuple[Student, float]:
    monkeypatch.setenv("KDAIF_PROCESSES_PER_JOB", str(processes))
    monkeypatch.setenv("KDAIF_SHARD_STUDENTS", shard_students)
    folder.mkdir()
    with running_stack(folder) as stack, Client(stack.target) as client:
        job, started = short_job(client, rounds=3), time.monotonic()
        if processes > 1:
            wait_for(lambda: len(_ranks(stack)) == processes, timeout_s=60)
        job.wait(timeout_s=200)
        assert job.info.attempt == 1
        cut = [event for event in job.watch() if event.progress and "holds a part" in event.progress.message]
        assert bool(cut) == (shard_students == "always")
        return job.download_student(folder / "student"), time.monotonic() - started


def apart(one: Path, other: Path) -> float:
    """The largest difference of any parameter of the two students."""
    first, second = (
        {
            each.name: numpy_helper.to_array(each)
            for each in onnx.load(folder / "student" / "model.onnx").graph.initializer
        }
        for folder in (one, other)
    )
    assert first.keys() == second.keys()
    by_name = (np.abs(values.astype(np.float64) - second[name]).max(initial=0.0) for name, values in first.items())
    return max(map(float, by_name))


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_two_processes_make_the_student_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: dict[int | str, float] = {}
    for processes in (1, 2):
        _, seconds[processes] = trained(tmp_path / str(processes), processes, monkeypatch)
    _, seconds["2, cut"] = trained(tmp_path / "cut", 2, monkeypatch, "always")
    whole, cut = (apart(tmp_path / "1", tmp_path / other) for other in ("2", "cut"))
    sys.stdout.write(f"torchrun_max_abs {whole:.3g}, cut {cut:.3g}, seconds by processes {seconds}\n")
    assert whole < 1e-5
    assert cut < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard_students", ["never", "always"])
def test_a_killed_process_ends_the_attempt_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_students: str
) -> None:
    monkeypatch.setenv("KDAIF_PROCESSES_PER_JOB", "2")
    monkeypatch.setenv("KDAIF_SHARD_STUDENTS", shard_students)
    with running_stack(tmp_path) as stack, Client(stack.target) as client:
        job = short_job(client, rounds=6)
        next(event for event in job.watch() if event.kind == "round")
        ranks = wait_for(lambda: found if len(found := _ranks(stack)) == 2 else None)
        ranks[1].kill()
        wait_for(lambda: not any(rank.is_running() for rank in ranks), timeout_s=20)
        job.wait(timeout_s=200)
        assert job.info.attempt == 2
        wait_for(lambda: not _ranks(stack), timeout_s=10)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_worker_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDAIF_PROCESSES_PER_JOB", "2")
    with running_stack(tmp_path) as stack, Client(stack.target) as client:
        job = short_job(client, rounds=50)
        next(event for event in job.watch() if event.kind == "round")
        ranks = wait_for(lambda: found if len(found := _ranks(stack)) == 2 else None)
        stack.worker().kill()
        wait_for(lambda: not any(rank.is_running() for rank in ranks), timeout_s=5)
        job.cancel()
