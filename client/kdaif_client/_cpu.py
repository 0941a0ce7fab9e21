"""How many CPUs this process may use: those of its affinity, within the quota of its control group."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usable_cpus"]


def usable_cpus(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """At least 1. A container with a quota of 2 CPUs on a machine of 64 gives 2, where ``os.cpu_count()`` says 64.

    Args:
        proc: where procfs is mounted.
        cgroups: where control groups are mounted, version 1 or 2.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(proc, cgroups) if (quota := _quota(folder)) is not None]
    # Rounded down: a thread too many is throttled along with all the others, a thread too few only waits.
    return max(1, min([cpus, *(int(quota) for quota in quotas)]))


def _folders(proc: Path, cgroups: Path) -> list[Path]:
    """This process's control group and those above it, each of which may set a quota."""
    folders = [cgroups, cgroups / "cpu"]
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / "cpu" if controllers else cgroups
        # Inside a container the path may be that of the host and not exist here; the roots above then hold the quota.
        folder = root / path.strip("/")
        while folder != root and ".." not in folder.parts:
            folders.append(folder)
            folder = folder.parent
    return folders


def _quota(folder: Path) -> float | None:
    """CPUs granted by one control group; ``None`` when it sets no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
