"""Processes: that die with their parent, keep no memory they do not use, and cannot do what they need not."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MOST_OPEN_FILES = 65_536
_OPEN_FILES_OF_A_READER = 16
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
# Of what was freed. A large job may take ten times as much; a small one would pay a twentieth of its time for less.
_KEPT_BYTES = 64 << 20
_MAPPED_FROM_BYTES = 32 << 20  # the most that glibc takes


def die_with_parent(parent_pid: int) -> None:
    """Asks the kernel to kill this process when its parent ends, and ends now if that already happened.

    Linux only; elsewhere the supervisor's own clean-up has to do.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def give_up_rights() -> None:
    """Leaves no core file, which would hold rows and credentials; bounds open files; no program it runs gains rights.

    Memory has no limit here: CUDA reserves address space of which it uses little. The supervisor measures it instead.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(_MOST_OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")


def limit_for_a_strangers_file(memory_bytes: int, cpu_s: int) -> None:
    """Bounds what reading a file may take of this process from here on, and leaves it no file to write.

    What the interpreter and its libraries map by now does not go to the file's account.
    """
    mapped = 0
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: mapped + memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES_OF_A_READER,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (wanted, wanted))


def end_now(status: int) -> NoReturn:
    """Ends this process without the interpreter's own end, which takes .6 s of processor where torch is loaded.

    And which a thread of gloo's can make an abort: it may hold a tensor of the last sum for a moment after the program
    is over, and to let go of it takes the interpreter's lock, which is gone by then.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def give_memory_back() -> None:
    """Gives the kernel what was freed and is kept for the next time: by glibc, and by Arrow's pool where it is loaded.

    Between two stages of long work that need memory of different sizes; it takes some milliseconds, and what is asked
    for again as many as its pages take to be mapped anew. So glibc keeps a little.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        trim = getattr(libc, "malloc_trim", None)  # other C libraries have none
        if trim is not None and _freed_bytes(libc) >= _KEPT_BYTES:
            trim(0)


def keep_memory_between_steps() -> None:
    """Lets glibc keep up to 64 MiB of what a training step frees, for the next step to take.

    By itself it gives back what is above some 25 MiB, and the kernel maps and clears it anew at each step: a sixth of
    the time of a convolutional student on 28 x 28 pixels. Arrays of more than 32 MiB are mapped alone, as ever.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        mallopt = getattr(libc, "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class _Mallinfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``: what was freed and is kept is the ninth of its ten numbers."""

    _fields_ = [("before", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


def _freed_bytes(libc: ctypes.CDLL) -> float:
    """Freed and kept by glibc; infinite where it is too old to say."""
    mallinfo = getattr(libc, "mallinfo2", None)
    if mallinfo is None:
        return math.inf
    mallinfo.restype = _Mallinfo
    return float(mallinfo().fordblks)
