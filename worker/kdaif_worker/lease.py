"""What a worker may believe of its lease, by its own clock."""

from __future__ import annotations

import time

# Goes on while the machine sleeps, as the queue's clock does. No wall clock: that may be set.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds on a clock that nobody sets and that counts sleep, of this process and of the machine."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """Runs from when a renewal was asked for, not from when it was answered: the queue may have counted from then on.

    Args:
        ttl_s: how long the queue lets a lease run.
        asked_s: when the claim was asked for, by `now_s`.
    """

    def __init__(self, ttl_s: float, asked_s: float) -> None:
        self._ttl_s = ttl_s
        self._ends_s = asked_s + ttl_s

    def extend(self, asked_s: float) -> None:
        """The queue has acknowledged a renewal that was asked for then."""
        self._ends_s = max(self._ends_s, asked_s + self._ttl_s)

    @property
    def remaining_s(self) -> float:
        """Seconds for which nobody else can have the job; zero or less: another worker may have it."""
        return self._ends_s - now_s()
