import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kdaif_client import Client, JobState

from tests.e2e.conftest import running_stack
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_demo_stopped_halfway_leaves_no_process_and_no_broken_state(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        family = wait_for(lambda: _family_with_training_child(demo.pid), timeout_s=60)
        demo.send_signal(signal.SIGINT)  # what Ctrl-C sends; the stack lives in a session of its own
        output, _ = demo.communicate(timeout=40)
    finally:
        demo.kill()
        demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert "Nothing is left running" in output
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family), timeout_s=5)
    # The same data under a new stack: the job is there, went back to the queue, and can be cancelled.
    data_dir = tmp_path / "demo-output" / "stack"
    with running_stack(tmp_path / "demo-output", data_dir=data_dir) as stack, Client(stack.target) as client:
        (job,) = client.list_jobs()
        assert job.state in (JobState.QUEUED, JobState.RUNNING)
        job.cancel()
        wait_for(lambda: job.refresh().state is JobState.CANCELLED)


@pytest.mark.slow
def test_a_killed_demo_takes_its_stack_along(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    demo = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        family = wait_for(lambda: _family_with_training_child(demo.pid), timeout_s=60)
    finally:
        demo.kill()
        demo.wait()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in family), timeout_s=10)


def _family_with_training_child(pid: int) -> list[int] | None:
    family = psutil.Process(pid).children(recursive=True)
    training = any("kdaif_worker.child" in _command(process) for process in family)
    return [pid, *(process.pid for process in family)] if training else None


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):  # it has ended since, or its parent has yet to see that
        return process.cmdline()
    return []
