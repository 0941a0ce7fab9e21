"""How many GPUs this machine has, of which kind, and how busy they are.

Without torch, which would take seconds and memory in the supervisor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

_ANSWERS_WITHIN_S = 20.0
_LONGEST_LABEL = 63


def count_gpus() -> int:
    """Those that ``nvidia-smi`` lists and ``CUDA_VISIBLE_DEVICES`` lets a child see; 0 where there is no driver."""
    there = len(_listed())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    # CUDA ends the list at the first entry that names nothing.
    named = [part.strip() for part in visible.split(",")]
    wanted = next((place for place, part in enumerate(named) if part in ("", "-1")), len(named))
    return min(there, wanted)


def gpu_kind() -> str | None:
    """As a label: ``nvidia-h200``. None without a GPU, and where there are several kinds: a job could get either."""
    kinds = {re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in _listed()}
    return kinds.pop()[:_LONGEST_LABEL] if len(kinds) == 1 else None


def _listed() -> list[str]:
    """The name of each GPU, such as ``NVIDIA H200``."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"],  # wherever the driver put it
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if listing.returncode:
        return []
    found = (re.match(r"GPU \d+: (.+?)(?: \(UUID: .*\))?$", line) for line in listing.stdout.splitlines())
    return [each[1] for each in found if each is not None]


def gpus_busy() -> dict[str, float]:
    """Share of the last moment in which each GPU worked, by its index; empty where there is no driver to ask."""
    if shutil.which("nvidia-smi") is None:
        return {}
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return busy_of(listing.stdout) if listing.returncode == 0 else {}


def busy_of(listing: str) -> dict[str, float]:
    """Of lines such as ``0, 37``. A GPU that does not tell it (``[N/A]``) is left out."""
    pairs = (line.partition(",") for line in listing.splitlines())
    return {gpu.strip(): int(percent) / 100 for gpu, _, percent in pairs if percent.strip().isdecimal()}
