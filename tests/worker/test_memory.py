import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kdaif_worker.memory import held_bytes, oom_kills

from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1 << 20

# 64 MiB that parent and child share after the fork, 32 MiB of the child's own, and a large mapped file.
FAMILY = """
import mmap, os, sys, time
shared = bytearray(b"x") * (64 << 20)
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(mapped[::4096])
reserved = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | 0x4000)
if os.fork() == 0:
    own = bytearray(b"y") * (32 << 20)
    print("ready", flush=True)
time.sleep(60)
"""


def test_what_a_family_holds_is_counted_once_and_files_and_reservations_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(96 * MIB))
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY, str(tmp_path / "file")], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            held = held_bytes(process.pid, 1 * MIB)
            assert 96 * MIB <= held < 125 * MIB
            # A bound that nobody is near needs no exact figure: shared memory may then count twice.
            assert held <= held_bytes(process.pid, 1 << 40)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: held_bytes(process.pid, 0) == 0)


def test_kills_for_want_of_memory_are_counted() -> None:
    assert oom_kills() >= 0
