"""The server's metrics, by the names that dashboard and alert rules use. docs/production.md lists them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kdaif.queue import Measured
from kdaif.records import Worker, WorkerMode

# From a read that Redis answers at once to a watch that lasts as long as its job.
_RPC_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_MOST_TENANTS = 50
OTHER = "_other"
"""Stands for every tenant after the first ``most_tenants``; no tenant can be called so."""


class ServerMetrics:
    """One set for one server.

    Args:
        most_tenants: that get series of their own. Whoever may make tenants could else fill the memory of Prometheus.
    """

    def __init__(self, most_tenants: int = _MOST_TENANTS) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._most_tenants = most_tenants
        self._named: set[str] = set()
        self._seconds_of: dict[tuple[str, str], Histogram] = {}
        self.rpc_seconds = Histogram(
            "kdaif_rpc_seconds", "Seconds from a call to its end.", ["method", "code"], registry=registry,
            buckets=_RPC_BUCKETS_S,
        )  # fmt: skip
        self.upload_bytes = Counter(
            "kdaif_upload_bytes", "Bytes of data sets that came by WriteDataset.", registry=registry
        )
        self.lease_expiries = Counter(
            "kdaif_lease_expiries", "Jobs taken away from a worker that fell silent.", registry=registry
        )
        self.deadlines_missed = Counter(
            "kdaif_deadlines_missed", "Jobs that failed since their deadline passed.", registry=registry
        )
        self.queue_jobs = Gauge(
            "kdaif_queue_jobs", "Jobs that are not over, by state: queued, delayed (waits for a retry) or running.",
            ["tenant", "state"], registry=registry,
        )  # fmt: skip
        self.queue_oldest_seconds = Gauge(
            "kdaif_queue_oldest_seconds", "How long the oldest job that may start has waited.", ["tenant"],
            registry=registry,
        )  # fmt: skip
        self.queue_unserved_seconds = Gauge(
            "kdaif_queue_unserved_seconds", "The same of jobs that no worker which is there may run.", registry=registry
        )
        self.workers = Gauge("kdaif_workers", "Workers that are there, by mode.", ["mode"], registry=registry)
        self.workers_busy = Gauge("kdaif_workers_busy", "Workers that have a job at hand.", registry=registry)
        self.redis_up = Gauge("kdaif_redis_up", "1 while Redis answers.", registry=registry)
        self.redis_aof_enabled = Gauge("kdaif_redis_aof_enabled", "1 where Redis writes an AOF.", registry=registry)
        self.redis_aof_healthy = Gauge(
            "kdaif_redis_aof_healthy",
            "1 while the last write and the last rewrite of the AOF went well.",
            registry=registry,
        )
        self.redis_memory_bytes = Gauge("kdaif_redis_memory_bytes", "Memory that Redis uses.", registry=registry)
        self.redis_memory_limit_bytes = Gauge(
            "kdaif_redis_memory_limit_bytes", "Its maxmemory; 0 is none.", registry=registry
        )
        self.disk_free_bytes = Gauge(
            "kdaif_disk_free_bytes", "Room on the disk of a place.", ["place"], registry=registry
        )

    def seconds_of(self, method: str, code: str) -> Histogram:
        """The series of ``rpc_seconds`` for a method and a status, which prometheus_client looks up under a lock."""
        found = self._seconds_of.get((method, code))
        if found is None:
            found = self._seconds_of[method, code] = self.rpc_seconds.labels(method, code)
        return found

    def tenant_label(self, tenant: str) -> str:
        """The tenant's name while there are few, then OTHER."""
        if tenant not in self._named and len(self._named) < self._most_tenants:
            self._named.add(tenant)
        return tenant if tenant in self._named else OTHER

    def redis_is_away(self) -> None:
        """What the queue's figures were is not true any more, and nobody knows what they are."""
        self.redis_up.set(0)
        self.queue_jobs.clear()
        self.queue_oldest_seconds.clear()

    def show(self, measured: Measured, workers: Iterable[Worker], unserved_s: float) -> None:
        """Takes over one look at the queue."""
        self.redis_up.set(1)
        self.redis_aof_enabled.set(measured.redis.aof_is_enabled)
        self.redis_aof_healthy.set(measured.redis.aof_is_healthy)
        self.redis_memory_bytes.set(measured.redis.used_memory_bytes)
        self.redis_memory_limit_bytes.set(measured.redis.max_memory_bytes)
        self._show_tenants(measured)
        self.queue_unserved_seconds.set(unserved_s)
        present = [worker for worker in workers if worker.is_present]
        for mode in WorkerMode:
            self.workers.labels(mode.lower()).set(sum(worker.mode is mode for worker in present))
        self.workers_busy.set(sum(bool(worker.job_id) for worker in present))

    def _show_tenants(self, measured: Measured) -> None:
        jobs: dict[tuple[str, str], int] = {}
        oldest_s: dict[str, float] = {}
        for each in measured.tenants:
            label = self.tenant_label(each.tenant)
            for state, count in (("queued", each.queued), ("delayed", each.delayed), ("running", each.running)):
                jobs[label, state] = jobs.get((label, state), 0) + count
            oldest_s[label] = max(oldest_s.get(label, 0.0), each.oldest_s)
        # A tenant that has nothing any more shows nothing, rather than its last figures for ever.
        self.queue_jobs.clear()
        self.queue_oldest_seconds.clear()
        for (label, state), count in jobs.items():
            self.queue_jobs.labels(label, state).set(count)
        for label, seconds in oldest_s.items():
            self.queue_oldest_seconds.labels(label).set(seconds)
