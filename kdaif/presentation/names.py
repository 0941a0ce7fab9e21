"""What the arms are called on a page."""

from __future__ import annotations

_ARM_NAMES = {
    "influence": "Influence weights",
    "uniform": "Uniform weights",
    "supervised": "Labelled rows only",
    "oracle": "Oracle: wrong rows removed",
    "teacher": "Teacher",
}


def arm_name(arm: str) -> str:
    """For a person; an arm that has no such name keeps its own."""
    return _ARM_NAMES.get(arm, arm)
