import subprocess
import sys

import pytest

# Blocks too small to be mapped one by one, freed below one that stays: glibc keeps them.
_PROGRAM = """
import sys
from pathlib import Path
from kdaif.processes import give_memory_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
blocks = [b"x" * 60_000 for _ in range(int(sys.argv[1]))]
last = b"x" * 60_000
taken = resident() - before
del blocks
kept = resident() - before
give_memory_back()
print(taken, kept, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells what is resident, and glibc keeps it, on Linux")
@pytest.mark.parametrize(("n_blocks", "given_back"), [(2000, True), (150, False)])
def test_much_freed_memory_is_given_back_and_a_little_is_kept(n_blocks: int, given_back: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(n_blocks)], capture_output=True, text=True, check=True, timeout=60
    )
    taken, kept, after = map(int, done.stdout.split())
    assert taken > 0.9 * n_blocks * 60_000
    assert kept > 0.8 * taken
    assert (after < 0.2 * taken) is given_back


# As a training step does: some tens of MiB in blocks of a few, all freed at its end.
_STEPS = """
import resource, sys
from kdaif.processes import keep_memory_between_steps

if sys.argv[1] == "keep":
    keep_memory_between_steps()

def step():
    return [bytearray(6 << 20) for _ in range(8)] is None

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_what_a_step_frees_is_there_for_the_next_one() -> None:
    mapped_anew = {}
    for how in ("keep", "default"):
        done = subprocess.run(
            [sys.executable, "-c", _STEPS, how], capture_output=True, text=True, check=True, timeout=60
        )
        mapped_anew[how] = int(done.stdout)
    pages = 8 * (6 << 20) // 4096
    assert mapped_anew["keep"] < pages
    assert mapped_anew["default"] > 5 * pages
