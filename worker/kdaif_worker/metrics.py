"""The worker's metrics, by the names that dashboard and alert rules use. docs/production.md lists them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from kdaif.telemetry import disk_free_bytes
from kdaif_worker.devices import gpus_busy

_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


class WorkerMetrics:
    """One set for one worker.

    Args:
        places: folders whose disks are watched, by name.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(_Machine(places))
        self.ready = Gauge("kdaif_worker_ready", "1 while the queue answers.", registry=registry)
        self.busy = Gauge("kdaif_worker_busy", "1 while a job is at hand.", registry=registry)
        self.started = Counter("kdaif_attempts_started", "Attempts that this worker claimed.", registry=registry)
        self.ended = Counter(
            "kdaif_attempts_ended",
            "Attempts by how they ended: succeeded, review, given_back, lost (nobody was told), or why they failed.",
            ["outcome"],
            registry=registry,
        )
        self.fenced = Counter(
            "kdaif_fenced_finishes", "Attempts whose end the queue refused: another had the job.", registry=registry
        )
        self.attempt_seconds = Histogram(
            "kdaif_attempt_seconds", "Seconds of an attempt.", ["outcome"], buckets=_BUCKETS_S, registry=registry
        )
        self.stage_seconds = Histogram(
            "kdaif_stage_seconds", "Seconds of an attempt in a stage.", ["stage"], buckets=_BUCKETS_S, registry=registry
        )
        self.training_seconds = Counter("kdaif_training_seconds", "Seconds of training rounds.", registry=registry)
        self.influence_seconds = Counter(
            "kdaif_influence_seconds", "Of these, seconds spent on influence and weights.", registry=registry
        )

    def attempt_began(self) -> WatchedAttempt:
        """An attempt was claimed."""
        self.started.inc()
        self.busy.set(1)
        return WatchedAttempt(self, time.monotonic)


class WatchedAttempt:
    """One attempt, from its claim to its end.

    Args:
        metrics: to keep.
        clock: in seconds.
    """

    def __init__(self, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._began = self._stage_began = clock()
        # Until the child speaks it starts: an interpreter, torch.
        self._stage = "start"
        self._seconds: dict[str, float] = {}  # a stage may come back: the canaries are judged between two arms
        self._has_ended = False

    def told(self, stage: str, figures: Mapping[str, float]) -> None:
        """The child is in a stage; a round that is over brings its figures."""
        if stage in _STAGES and stage != self._stage:
            self._end_stage()
            self._stage = stage
        self._metrics.training_seconds.inc(max(0.0, figures.get("train_seconds", 0.0)))
        self._metrics.influence_seconds.inc(max(0.0, figures.get("influence_seconds", 0.0)))

    def ended(self, outcome: str) -> None:
        """The first call counts."""
        if self._has_ended:
            return
        self._has_ended = True
        self._end_stage()
        for stage, seconds in self._seconds.items():
            self._metrics.stage_seconds.labels(stage).observe(seconds)
        self._metrics.busy.set(0)
        self._metrics.ended.labels(outcome).inc()
        self._metrics.attempt_seconds.labels(outcome).observe(self._clock() - self._began)

    def _end_stage(self) -> None:
        now = self._clock()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_began
        self._stage_began = now


# A child is not believed: what it calls a stage becomes a label of Prometheus only where it is one of these.
_STAGES = frozenset({"load", "teacher", "canary", "distil", "export"})


class _Machine(Collector):
    """Asked at each scrape: how busy the GPUs are, where the driver tells it, and how much room the disks have."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places

    def collect(self) -> Iterator[GaugeMetricFamily]:
        busy = GaugeMetricFamily(
            "kdaif_gpu_busy_ratio", "Share of the last moment in which the GPU worked.", labels=["gpu"]
        )
        for gpu, share in gpus_busy().items():
            busy.add_metric([gpu], share)
        yield busy
        free = GaugeMetricFamily("kdaif_disk_free_bytes", "Room on the disk of a place.", labels=["place"])
        for place, folder in self._places.items():
            free.add_metric([place], disk_free_bytes(folder))
        yield free
