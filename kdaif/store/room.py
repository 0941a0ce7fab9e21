"""How much uploads may take: of a disk, and of what a tenant is allowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kdaif.errors import QuotaExceededError, UnavailableError
from kdaif.store.failures import translated


@dataclass(frozen=True)
class UploadLimits:
    """What uploads may take.

    Attributes:
        tenant_quota_bytes: most bytes of one tenant's uploaded data sets, those in progress by their declared size;
            None for no limit.
        disk_reserve_bytes: free space that uploads leave alone on the disks of the spool and of a local store.
        piece_bytes: size of the pieces in which a large file may be sent, several at a time.
    """

    tenant_quota_bytes: int | None = None
    disk_reserve_bytes: int = 0
    piece_bytes: int = 32 << 20


@dataclass(frozen=True)
class Room:
    """The free space of the file system of a folder, less a reserve."""

    folder: Path
    reserve_bytes: int = 0

    def require(self, size_bytes: int, doing: str) -> None:
        """Returns where ``size_bytes`` more fit.

        Args:
            size_bytes: to be written.
            doing: what for, for the message: ``start the upload of data set 0f``.

        Raises:
            UnavailableError: they do not fit.
        """
        with translated(doing):
            found = os.statvfs(_existing(self.folder))
        free_bytes = found.f_bavail * found.f_frsize
        if free_bytes - self.reserve_bytes < size_bytes:
            raise UnavailableError(
                f"could not {doing}: it needs {size_bytes:,} bytes, and the disk of {self.folder} has {free_bytes:,} "
                f"free, of which {self.reserve_bytes:,} are kept in reserve; free some space there and repeat"
            )


def require_quota(tenant: str, used_bytes: int, size_bytes: int, quota_bytes: int) -> None:
    """Raises QuotaExceededError where ``size_bytes`` more than ``used_bytes`` are over the quota."""
    if used_bytes + size_bytes > quota_bytes:
        raise QuotaExceededError(
            f"tenant {tenant!r} uses {used_bytes:,} of the {quota_bytes:,} bytes that its data sets may take, with "
            f"uploads in progress, and {size_bytes:,} more do not fit; delete data sets that no job needs any more, or "
            "ask the operator for a larger quota (tenant_quota_bytes)",
            subject=f"tenants/{tenant}",
        )


def on_one_disk(one: Path, other: Path) -> bool:
    """Whether two folders lie on the same file system."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
