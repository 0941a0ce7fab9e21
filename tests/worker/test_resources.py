"""What an attempt took, with counters of energy that a test writes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from kdaif_worker import resources
from kdaif_worker.gpu_energy import GpuEnergy, total_energy_mj
from kdaif_worker.resources import Meter

CPU = torch.device("cpu")

# The management library as this module uses it; its counter moves by 1.5 J at each reading.
_NVML = """
class NVMLError(Exception):
    pass

read, is_up = 0, False

def nvmlInit():
    global is_up
    is_up = True

def nvmlShutdown():
    global is_up
    is_up = False

def nvmlDeviceGetHandleByUUID(uuid):
    if uuid != "GPU-7":
        raise NVMLError("Not Found")
    return uuid

def nvmlDeviceGetTotalEnergyConsumption(handle):
    global read
    assert is_up
    read += 1500
    return read
"""


def _packages(folder: Path, **energy_uj: int) -> None:
    for name, value in energy_uj.items():
        place = folder / name.replace("_", ":")
        place.mkdir(parents=True, exist_ok=True)
        (place / "energy_uj").write_text(f"{value}\n")
        (place / "max_energy_range_uj").write_text("1000000\n")


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resources, "_RAPL", tmp_path)
    return tmp_path


def test_energy_is_the_sum_over_packages_and_a_counter_may_start_again(rapl: Path) -> None:
    _packages(rapl, **{"intel-rapl_0": 100, "intel-rapl_1": 900_000, "intel-rapl_0_0": 5})
    meter = Meter.started(CPU)
    _packages(rapl, **{"intel-rapl_0": 2_100, "intel-rapl_1": 400_000, "intel-rapl_0_0": 999})
    taken = meter.taken()
    assert taken.figures["energy_j"] == pytest.approx((2_000 + 500_000) / 1e6)
    assert taken.figures["cpu_s"] > 0
    assert taken.notes == ()


def test_a_machine_without_counters_says_so_and_so_does_one_that_hides_them(rapl: Path) -> None:
    taken = Meter.started(CPU).taken()
    assert "energy_j" not in taken.figures
    assert taken.notes == (
        f"energy of the CPU (energy_j) is not readable: this machine has no RAPL counters in {rapl}",
    )
    (rapl / "intel-rapl:0").mkdir()
    hidden = Meter.started(CPU).taken()
    assert "energy_uj: No such file or directory" in hidden.notes[0]


def test_a_gpu_is_metered_by_its_own_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pynvml.py").write_text(_NVML)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    start_mj, why = total_energy_mj("GPU-7")
    assert (start_mj, why) == (1500, "")
    assert GpuEnergy("GPU-7", start_mj, why).taken_j() == (1.5, "")
    assert total_energy_mj("GPU-8") == (None, "the driver says Not Found")
    sys.modules.pop("pynvml")


def test_what_cannot_be_read_of_a_gpu_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    energy, why = total_energy_mj("GPU-7")
    assert energy is None
    assert "install kdaif-worker[gpu]" in why
    assert GpuEnergy("GPU-7", None, why).taken_j() == (None, why)
