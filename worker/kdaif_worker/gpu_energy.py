"""What a GPU has consumed, by NVIDIA's management library where it is installed: the extra ``kdaif-worker[gpu]``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class GpuEnergy:
    """A GPU's counter at the start, in millijoules; None with the reason where it cannot be read."""

    uuid: str
    start_mj: int | None
    why: str

    @classmethod
    def started(cls, device: torch.device) -> GpuEnergy:
        """Now, of the GPU that torch calls by that name."""
        # By its own id: CUDA_VISIBLE_DEVICES renames GPUs for torch, but not for the management library.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        start_mj, why = total_energy_mj(uuid)
        return cls(uuid, start_mj, why)

    def taken_j(self) -> tuple[float | None, str]:
        """Joules since the start, of whoever else used the GPU too; or None, and why."""
        if self.start_mj is None:
            return None, self.why
        now_mj, why = total_energy_mj(self.uuid)
        return (None, why) if now_mj is None else ((now_mj - self.start_mj) / 1000, "")


def total_energy_mj(uuid: str) -> tuple[int | None, str]:
    """Millijoules since the driver was loaded; or None, and why. GPUs before Volta do not count."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None, "nvidia-ml-py is not installed; install kdaif-worker[gpu]"
    try:
        nvml.nvmlInit()
        try:
            return int(nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByUUID(uuid))), ""
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return None, f"the driver says {error}"
