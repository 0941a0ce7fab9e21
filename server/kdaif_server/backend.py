"""What the gRPC services and the dashboard both stand on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from kdaif.queue import JobQueue
from kdaif.store import DatasetStore
from kdaif_server.artifacts import Artifacts
from kdaif_server.weights.engine import Engine


@dataclass(frozen=True)
class Backend:
    """One of each, shared.

    Attributes:
        queue: the jobs.
        datasets: what was uploaded.
        artifacts: what succeeded jobs left.
        engine: that scans weights and rows.
        cache_dir: for local copies of data sets.
        stopping: set when the server goes down; whoever follows a job then lets go.
    """

    queue: JobQueue
    datasets: DatasetStore
    artifacts: Artifacts
    engine: Engine
    cache_dir: Path
    stopping: asyncio.Event
