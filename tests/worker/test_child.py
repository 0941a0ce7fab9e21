import os
import signal
import subprocess
import sys

import psutil
import pytest
import torch
from kdaif_worker.child import failure_of

from kdaif.errors import (
    DataCorruptedError,
    FailureReason,
    InvalidInputError,
    NonFiniteError,
    NotFoundError,
    UnavailableError,
)
from tests.waiting import wait_for


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (NonFiniteError("loss"), FailureReason.NON_FINITE, False),
        (InvalidInputError.of("spec.labeled", "no rows"), FailureReason.INVALID_DATA, False),
        (NotFoundError("no such data set"), FailureReason.INVALID_DATA, False),
        (DataCorruptedError("hash"), FailureReason.STORAGE, False),
        (UnavailableError("no answer"), FailureReason.STORAGE, True),
        (OSError(28, "No space left on device"), FailureReason.STORAGE, True),
        (MemoryError(), FailureReason.OUT_OF_MEMORY, False),
        (torch.OutOfMemoryError("CUDA out of memory"), FailureReason.OUT_OF_MEMORY, False),
        (ZeroDivisionError("division by zero"), FailureReason.INTERNAL, False),
    ],
)
def test_failures_are_typed(error: Exception, reason: FailureReason, retryable: bool) -> None:
    failure = failure_of(error)
    assert (failure.reason, failure.retryable) == (reason, retryable)
    assert failure.message


def test_a_real_allocation_failure_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert failure_of(caught.value).reason is FailureReason.OUT_OF_MEMORY


def test_q3_a_process_dies_with_its_parent() -> None:
    grandchild = (
        "import os, sys, time; from kdaif.processes import die_with_parent; "
        "die_with_parent(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(60)"
    )
    child = (
        "import os, subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {grandchild!r}, str(os.getpid())], start_new_session=True)"
    )
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
        wait_for(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, timeout_s=2)


def test_a_child_that_was_stopped_before_it_asked_to_die_with_its_parent_does_not_outlive_it() -> None:
    """It never comes to ask; the kernel ends it as a stopped group that nobody looks after."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from kdaif.records import DistillationSpec\n"
        "from kdaif_worker.child_process import Child\n"
        "from kdaif_worker.messages import Assignment\n"
        "from kdaif_worker.settings import WorkerSettings\n"
        "spec = DistillationSpec(labeled='a' * 32, unlabeled='b' * 32)\n"
        "given = Assignment('default', 'j', 1, '', spec, 'file:///nowhere', Path('nowhere'), None)\n"
        "async def main():\n"
        "    async with Child.started(given, WorkerSettings(child_module='tests.worker.stopped_child')) as child:\n"
        "        print(child._process.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
        wait_for(lambda: orphan.status() == psutil.STATUS_STOPPED)
        parent.kill()
        wait_for(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, timeout_s=2)


def test_a_child_leaves_no_core_file_and_gains_no_rights() -> None:
    program = (
        "import resource\n"
        "from kdaif.processes import give_up_rights\n"
        "give_up_rights()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 65536)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "(0, 0) True\n['NoNewPrivs:\\t1\\n']\n"
