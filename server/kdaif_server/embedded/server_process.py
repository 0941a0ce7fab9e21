"""A server process that an earlier run may have left behind: recorded, recognised, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdaif.errors import UnavailableError

_POLL_S = 0.02


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether ``condition`` became true within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


@dataclass(frozen=True)
class PidFile:
    """Names a process by its id and its time of birth: an id alone may belong to another process by now."""

    path: Path

    def write(self, pid: int) -> None:
        """Records a process that was just started."""
        self.path.write_text(f"{pid}\n{_birth(pid)}\n", "utf-8")

    def remove(self) -> None:
        """Forgets it."""
        self.path.unlink(missing_ok=True)

    def stop_stale(self, timeout_s: float) -> None:
        """Stops the recorded process where it still lives: SIGTERM, SIGKILL after ``timeout_s``. Then forgets it.

        Raises UnavailableError when even that does not end it.
        """
        process = self._read()
        if process is not None and _is_alive(*process):
            pid, birth = process

            def has_ended() -> bool:
                return not _is_alive(pid, birth)

            for number in (signal.SIGTERM, signal.SIGKILL):
                _send(pid, number)
                if wait_until(has_ended, timeout_s):
                    break
            else:
                raise UnavailableError(
                    f"Process {pid}, a server left from an earlier run ({self.path}), does not end: "
                    "end it, then start again"
                )
        self.remove()

    def _read(self) -> tuple[int, str] | None:
        try:
            pid, birth = self.path.read_text("utf-8").splitlines()[:2]
            return int(pid), birth
        except (OSError, ValueError):
            # Missing, or cut short by a crash.
            return None


def _is_alive(pid: int, birth: str) -> bool:
    return bool(birth) and _birth(pid) == birth


def _birth(pid: int) -> str:
    """When the process started, by the kernel; empty when there is none, or only its remains."""
    if sys.platform == "linux":
        try:
            # The name before the last ")" may hold spaces. Field 3 is the state, 22 the start in ticks since boot.
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else f"{_boot_id()}/{fields[19]}"
    listing = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listing.stdout.strip()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # It ended on its own in between.
        return
