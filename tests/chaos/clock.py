"""A worker whose clock is one hour off.

With libfaketime (Debian's package of that name) the whole process and its children are shifted; without it, Python's own
clocks in the supervisor are, by running it through this module: ``python -m tests.chaos.clock -m kdaif_worker``.
"""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

_LIBRARIES = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1")
_SHIFT_S = 3600
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Shifted:
    """How to start a program with a wrong clock."""

    how: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def one_hour_off(command: list[str]) -> Shifted:
    """``command`` are the arguments of Python: ``-m`` and a module."""
    for library in _LIBRARIES:
        if Path(library).exists():
            # Monotonic clocks stay: a wrong date does not stretch timeouts.
            environment = {"LD_PRELOAD": library, "FAKETIME": f"+{_SHIFT_S}s", "DONT_FAKE_MONOTONIC": "1"}
            return Shifted("libfaketime", command, environment)
    return Shifted("time.time shifted in the supervisor", ["-m", "tests.chaos.clock", *command])


def _shifted(original: Callable[[], N], shift: N) -> Callable[[], N]:
    return lambda: original() + shift


def main() -> None:
    time.time = _shifted(time.time, float(_SHIFT_S))
    time.time_ns = _shifted(time.time_ns, _SHIFT_S * 10**9)
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
