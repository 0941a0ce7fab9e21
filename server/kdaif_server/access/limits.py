"""How much a tenant may call: a token bucket, and a count of streams.

They are kept in the server's memory. A bucket in Redis would be one write to its append-only file for each call, which
costs more than most calls; the limit protects a server, and each server protects itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kdaif.errors import QuotaExceededError

_MOST_REMEMBERED = 10_000
_STREAM_RETRY_S = 5.0


@dataclass(frozen=True)
class CallLimits:
    """Of each tenant, on each server; None for no limit.

    Attributes:
        calls_per_s: calls begun, over time; a stream is one.
        burst_calls: how many at once after a quiet time; None for as many as in two seconds.
        open_streams: watches, uploads and downloads under way.
    """

    calls_per_s: float | None = None
    burst_calls: int | None = None
    open_streams: int | None = None


@dataclass
class _Bucket:
    calls: float
    filled_at_s: float


class Limiter:
    """Counts the calls of every tenant. Of one event loop."""

    def __init__(self, limits: CallLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._streams: Counter[str] = Counter()

    def take(self, tenant: str) -> None:
        """One call. Raises QuotaExceededError that says when the next fits."""
        rate = self._limits.calls_per_s
        if rate is None:
            return
        now, most = self._clock(), float(self._limits.burst_calls or max(1.0, 2 * rate))
        bucket = self._buckets.get(tenant)
        if bucket is None:
            if len(self._buckets) >= _MOST_REMEMBERED:
                self._forget_full(now, rate, most)
            bucket = self._buckets[tenant] = _Bucket(most, now)
        bucket.calls = min(most, bucket.calls + (now - bucket.filled_at_s) * rate)
        bucket.filled_at_s = now
        if bucket.calls < 1:
            raise QuotaExceededError(
                f"tenant {tenant!r} makes more than the {rate:g} calls a second that this server allows it; wait, or "
                "ask the operator for more (tenant_calls_per_s)",
                subject=f"tenants/{tenant}",
                retry_after_s=(1 - bucket.calls) / rate,
            )
        bucket.calls -= 1

    @contextmanager
    def stream(self, tenant: str) -> Iterator[None]:
        """One stream, for as long as the block. Raises QuotaExceededError."""
        most = self._limits.open_streams
        if most is not None and self._streams[tenant] >= most:
            raise QuotaExceededError(
                f"tenant {tenant!r} has {most} streams open, which is all that this server allows it; end a watch, or "
                "ask the operator for more (tenant_open_streams)",
                subject=f"tenants/{tenant}",
                retry_after_s=_STREAM_RETRY_S,
            )
        self._streams[tenant] += 1
        try:
            yield
        finally:
            self._streams[tenant] -= 1
            if not self._streams[tenant]:
                del self._streams[tenant]

    def _forget_full(self, now: float, rate: float, most: float) -> None:
        """A bucket that is full by now says nothing."""
        full = [
            tenant
            for tenant, bucket in self._buckets.items()
            if bucket.calls + (now - bucket.filled_at_s) * rate >= most
        ]
        for tenant in full:
            del self._buckets[tenant]
