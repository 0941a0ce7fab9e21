"""The end of what a child printed, as people may read it."""

from __future__ import annotations

from collections.abc import Callable

MOST_LINES = 40
MOST_BYTES = 8192
_LINE_BYTES = 4096  # of one line as it is passed on


class OutputTail:
    """Takes whatever bytes a process prints, passes lines on, and keeps the end of them.

    Args:
        blanked: takes secrets out of a text.
        show: is given each line.
    """

    def __init__(self, blanked: Callable[[str], str], show: Callable[[str], None]) -> None:
        self._blanked = blanked
        self._show = show
        self._kept = bytearray()
        self._line = bytearray()

    def add(self, chunk: bytes) -> None:
        """Some more output; lines may be cut anywhere."""
        self._kept += chunk
        # More than is shown in the end, so that a secret at its beginning is whole and can be found.
        del self._kept[: -4 * MOST_BYTES]
        *lines, rest = (bytes(self._line) + chunk).split(b"\n")
        for line in lines:
            self._show(self._blanked(_clean(line[:_LINE_BYTES])))
        self._line = bytearray(rest[: 2 * _LINE_BYTES])

    def text(self) -> str:
        """The last lines: at most 40 and 8 KiB of UTF-8, without control characters and secrets."""
        lines = [_clean(line) for line in bytes(self._kept).split(b"\n")]
        shown = self._blanked("\n".join(lines)).strip().split("\n")[-MOST_LINES:]
        return "\n".join(shown).encode()[-MOST_BYTES:].decode(errors="ignore")


def _clean(line: bytes) -> str:
    """A line as a terminal would leave it: of a progress bar that overwrites itself, the last state."""
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    return "".join(
        letter for letter in last.decode(errors="replace").rstrip() if letter == "\t" or letter.isprintable()
    )
