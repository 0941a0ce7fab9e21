"""How much room a folder has."""

from __future__ import annotations

import os
from pathlib import Path


def disk_free_bytes(folder: Path) -> float:
    """What may still be written below ``folder``, or below its first parent that is there; NaN where nobody can say."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError:
        return float("nan")
    return float(found.f_bavail * found.f_frsize)
