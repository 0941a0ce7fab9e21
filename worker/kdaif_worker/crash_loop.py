"""A worker on which everything dies must not burn the attempts of every job in the queue."""

from __future__ import annotations

import random
from collections.abc import Callable

from kdaif.errors import FailureReason

_QUICK_S = 60.0
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSES = 60  # times the first
# What a broken driver, a full disk or a missing library look like. A job's own faults are typed otherwise.
_SUSPECT = frozenset({FailureReason.CRASHED, FailureReason.INTERNAL, FailureReason.STORAGE})


class CrashLoop:
    """Counts the jobs that died at once, one after the other, on this worker.

    One job that dies again and again is the job's fault, and the queue holds it back; two different ones in a row may
    be the worker's. From then on each further one doubles the pause before the next claim.

    Args:
        first_pause_s: after the second job.
        jitter: a factor for each pause, so that workers with one cause do not come back in step.
    """

    def __init__(
        self,
        first_pause_s: float = _FIRST_PAUSE_S,
        jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.5),  # noqa: S311
    ) -> None:
        self._first_pause_s = first_pause_s
        self._jitter = jitter
        self._jobs: list[str] = []
        self._last_message = ""

    def died(self, job_id: str, reason: FailureReason, message: str, seconds: float, *, rounds: int) -> None:
        """An attempt ended in a failure after so many seconds and rounds of training."""
        if reason not in _SUSPECT or seconds > _QUICK_S or rounds > 0:
            self.lived()
            return
        self._last_message = message
        if not self._jobs or self._jobs[-1] != job_id:
            self._jobs.append(job_id)

    def lived(self) -> None:
        """An attempt got somewhere: the worker is sound."""
        self._jobs.clear()
        self._last_message = ""

    def pause_s(self) -> float:
        """How long to claim nothing now."""
        if len(self._jobs) < 2:
            return 0.0
        grown = self._first_pause_s * 2.0 ** min(len(self._jobs) - 2, 16)
        return min(grown, _LONGEST_PAUSES * self._first_pause_s) * self._jitter()

    @property
    def note(self) -> str:
        """For an operator; empty while there is nothing to tell."""
        if len(self._jobs) < 2:
            return ""
        first_line = self._last_message.partition("\n")[0]
        return (
            f"{len(self._jobs)} jobs in a row died at once here, so claims pause. Look at this worker's disk, driver "
            f"and memory. The last: {first_line}"
        )
