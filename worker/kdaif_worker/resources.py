"""What an attempt takes: seconds of CPU and GPU, and energy where the machine tells it."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from kdaif_worker.gpu_energy import GpuEnergy

# Running Average Power Limit: microjoules of each CPU package, which start again at a maximum. Often for root alone.
_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Taken:
    """What an attempt took so far.

    Attributes:
        figures: ``cpu_s`` of this process and those it waited for; ``energy_j`` of the machine's CPUs meanwhile, of
            whoever else used them too; on a GPU ``gpu_s``, for which it was held, and ``gpu_energy_j``. Those that
            cannot be read are left out.
        notes: what was left out, and why.
    """

    figures: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Meter:
    """What the counters said at the start: microjoules by CPU package, empty where none can be read."""

    energy_uj: dict[str, int]
    cpu_note: str
    gpu: GpuEnergy | None
    started_s: float

    @classmethod
    def started(cls, device: torch.device) -> Meter:
        """Now, on the device that the attempt computes on."""
        found, note = _energy_uj()
        return cls(found, note, GpuEnergy.started(device) if device.type == "cuda" else None, time.monotonic())

    def taken(self) -> Taken:
        """Since the start."""
        own, waited = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        figures = {"cpu_s": own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime}
        notes = []
        now, note = _energy_uj()
        if self.energy_uj and now.keys() == self.energy_uj.keys():
            passed = [
                now[name] - before if now[name] >= before else now[name] + _range_uj(name) - before
                for name, before in self.energy_uj.items()
            ]
            figures["energy_j"] = sum(passed) / 1e6
        else:
            notes.append(f"energy of the CPU (energy_j) is not readable: {self.cpu_note or note}")
        if self.gpu is not None:
            figures["gpu_s"] = time.monotonic() - self.started_s
            energy_j, why = self.gpu.taken_j()
            if energy_j is None:
                notes.append(f"energy of the GPU (gpu_energy_j) is not readable: {why}")
            else:
                figures["gpu_energy_j"] = energy_j
        return Taken(figures, tuple(notes))


def _energy_uj() -> tuple[dict[str, int], str]:
    """By package; and why there is none."""
    found = {}
    why = f"this machine has no RAPL counters in {_RAPL}"
    for package in sorted(_RAPL.glob("intel-rapl:[0-9]*")):
        if package.name.count(":") == 1:  # a part of a package has two
            try:
                found[package.name] = int((package / "energy_uj").read_text())
            except (OSError, ValueError) as error:
                why = f"{package / 'energy_uj'}: {getattr(error, 'strerror', None) or error}"
    return found, "" if found else why


def _range_uj(name: str) -> int:
    try:
        return int((_RAPL / name / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        return 0
