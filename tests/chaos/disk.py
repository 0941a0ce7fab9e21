"""A small disk of its own that can be filled: a tmpfs where we may mount one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import psutil

_BALLAST_BYTES = 1 << 20


class Disk:
    """A folder. ``fill`` leaves no byte on it where it is a tmpfs; elsewhere it forbids processes to write."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=700", "kdaif-chaos", str(folder)]
        mount = shutil.which("mount")
        self.is_tmpfs = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def how(self) -> str:
        """By what a full disk is made."""
        return "tmpfs" if self.is_tmpfs else "RLIMIT_FSIZE"

    def fill(self, pids: list[int]) -> None:
        """No further byte fits. ``pids`` write to this disk."""
        if not self.is_tmpfs:
            self._limit(pids, 0)
            return
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                # A short write is the last that fits.
                if file.write(b"\0" * _BALLAST_BYTES) < _BALLAST_BYTES:
                    file.write(b"\0")

    def free(self, pids: list[int]) -> None:
        """Undoes ``fill``."""
        if not self.is_tmpfs:
            self._limit(pids, -1)
            return
        self._ballast.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        if self.is_tmpfs:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
            self.is_tmpfs = False

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    @staticmethod
    def _limit(pids: list[int], size: int) -> None:
        for pid in pids:
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                process.rlimit(psutil.RLIMIT_FSIZE, (size, process.rlimit(psutil.RLIMIT_FSIZE)[1]))
