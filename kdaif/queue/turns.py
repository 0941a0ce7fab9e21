"""Whose turn it is: the tenant with the fewest jobs under way, and among equals the next one round."""

from __future__ import annotations

import bisect
import random
from collections.abc import Mapping


class Turns:
    """Remembers which tenant this process served last."""

    def __init__(self) -> None:
        self._served: str | None = None

    def order(self, running: Mapping[str, int]) -> list[str]:
        """The tenants in the order in which they should be asked for a job.

        Args:
            running: jobs under way of each tenant that has somebody in line.
        """
        waiting = sorted(running)
        if self._served is None and waiting:
            # Workers that start together should not all begin with the same tenant.
            self._served = random.choice(waiting)  # noqa: S311
        next_turn = bisect.bisect_right(waiting, self._served or "")
        return sorted(waiting[next_turn:] + waiting[:next_turn], key=lambda tenant: running[tenant])

    def served(self, tenant: str) -> None:
        """The tenant has had its turn."""
        self._served = tenant
