"""What an attempt takes: seconds of CPU, and energy where the machine tells it."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

# Running Average Power Limit: microjoules of each CPU package, which start again at a maximum. Often for root alone.
_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """What the counters of energy said at the start, in microjoules by package; empty where none can be read."""

    energy_uj: dict[str, int]

    @classmethod
    def started(cls) -> Meter:
        """Now."""
        return cls(_energy_uj())

    def taken(self) -> dict[str, float]:
        """``cpu_s`` of this process and of those that it waited for; ``energy_j`` of the machine's CPUs meanwhile."""
        own, waited = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        found = {"cpu_s": own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime}
        now = _energy_uj()
        if self.energy_uj and now.keys() == self.energy_uj.keys():
            passed = [
                now[name] - before if now[name] >= before else now[name] + _range_uj(name) - before
                for name, before in self.energy_uj.items()
            ]
            found["energy_j"] = sum(passed) / 1e6
        return found


def _energy_uj() -> dict[str, int]:
    found = {}
    for package in sorted(_RAPL.glob("intel-rapl:[0-9]*")):
        if package.name.count(":") == 1:  # a part of a package has two
            try:
                found[package.name] = int((package / "energy_uj").read_text())
            except (OSError, ValueError):
                continue
    return found


def _range_uj(name: str) -> int:
    try:
        return int((_RAPL / name / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        return 0
