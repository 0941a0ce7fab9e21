"""Which kind of process the processors worked for during the load."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

Kinds = Mapping[str, int]
"""Of each kind the process that was started; what it starts itself belongs to it."""
IDLE = "idle"
OTHER = "all else on the machine"


@dataclass(frozen=True)
class CpuClock:
    """How much each kind of process, and the whole machine, has worked so far."""

    at_s: float
    of_kind_s: Mapping[str, float]
    busy_s: float
    idle_s: float

    @classmethod
    def now(cls, kinds: Kinds) -> CpuClock:
        """Reads all of them."""
        machine = psutil.cpu_times()
        idle_s = machine.idle + machine.iowait
        return cls(
            at_s=time.monotonic(),
            of_kind_s={kind: cpu_s(pid) for kind, pid in kinds.items()},
            busy_s=sum(machine[:8]) - idle_s,  # of the rest, guests are counted in what comes before
            idle_s=idle_s,
        )

    def cores_until(self, later: CpuClock) -> dict[str, float]:
        """Of each kind the processors that it kept busy, 1 being one of them all the time."""
        seconds = later.at_s - self.at_s
        used = {kind: used_s - self.of_kind_s[kind] for kind, used_s in later.of_kind_s.items()}
        used[OTHER] = max(0.0, later.busy_s - self.busy_s - sum(used.values()))
        used[IDLE] = later.idle_s - self.idle_s
        return {kind: used_s / seconds for kind, used_s in used.items()}


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, and those that it started."""
    return sum(_own_cpu_s(each) for each in family(pid))


def family(pid: int) -> list[psutil.Process]:
    """A process and those that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _own_cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)
