"""How much memory a training child and its helpers hold, and whether the kernel ran out of it. Linux only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_KIB = 1024


def held_bytes(pid: int, most_bytes: int) -> int:
    """Memory that a process and its descendants hold and the kernel cannot drop; 0 once they are gone.

    Files that are mapped do not count, for the kernel drops their pages when it needs room; nor does address space that
    was only reserved, of which CUDA takes many gigabytes. What processes share counts once, as far as it matters: a
    cheap sum that counts it in each comes first, and only where that is over ``most_bytes`` the exact one follows.

    Args:
        pid: of the child.
        most_bytes: up to which nobody needs to know exactly.
    """
    pids = list(_family(pid))
    counted_in_each = sum(_sum_of(each, "status", ("RssAnon", "RssShmem", "VmSwap")) for each in pids)
    if counted_in_each <= most_bytes:
        return counted_in_each
    return sum(_sum_of(each, "smaps_rollup", ("Pss_Anon", "Pss_Shmem", "SwapPss")) for each in pids)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for thread in _listed(_PROC / str(pid) / "task"):
        for child in _read(thread / "children").split():
            yield from _family(int(child))


def _sum_of(pid: int, file: str, names: tuple[str, ...]) -> int:
    fields = dict(_FIELD.findall(_read(_PROC / str(pid) / file)))
    return sum(int(fields.get(name, 0)) for name in names) * _KIB


def oom_kills() -> int:
    """Processes that the kernel has killed for want of memory, in our own control group where it counts them there."""
    for line in _read(_PROC / "self" / "cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        inside = path.lstrip("/")
        if number == "0":
            places = (_CGROUPS / inside / "memory.events", _CGROUPS / "memory.events")
        elif "memory" in controllers.split(","):
            places = (_CGROUPS / "memory" / inside / "memory.oom_control", _CGROUPS / "memory" / "memory.oom_control")
        else:
            continue
        for place in places:
            if (count := _oom_kills_in(_read(place))) is not None:
                return count
    return _oom_kills_in(_read(_PROC / "vmstat")) or 0


def _oom_kills_in(text: str) -> int | None:
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(file: Path) -> str:
    """Nothing where the process is gone, or the system keeps no such file."""
    try:
        return file.read_text("utf-8", errors="replace")
    except OSError:
        return ""
