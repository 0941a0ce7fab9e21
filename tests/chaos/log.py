"""What was done to the system, and when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from tests.chaos.plan import Fault


@dataclass(frozen=True)
class Injected:
    """One fault that took place: Unix milliseconds of its begin, and how long it lasted."""

    at_ms: int
    fault: Fault
    target: str
    seconds: float


@dataclass(frozen=True)
class Held:
    """A lease whose holder was killed: ``expires_ms`` is when it must have run out."""

    tenant: str
    job_id: str
    attempt: int
    expires_ms: int


class FaultLog:
    """Shared by all that inject."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.injected: list[Injected] = []
        self.missed: list[Fault] = []
        self.deaths: list[Held] = []

    def add(self, fault: Fault, target: str, seconds: float) -> None:
        at_ms = round((time.time() - seconds) * 1000)
        with self._lock:
            self.injected.append(Injected(at_ms, fault, target, seconds))

    def miss(self, fault: Fault) -> None:
        """There was nothing to harm."""
        with self._lock:
            self.missed.append(fault)

    def counts(self) -> dict[str, int]:
        """Faults by kind, most frequent first."""
        return {str(kind): count for kind, count in Counter(each.fault for each in self.injected).most_common()}
