"""Settings of the worker, from the environment (``KDAIF_...``) or the command line."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kdaif.store import AllowedBuckets, AllowedRoots, Listed, References
from kdaif.telemetry import LogFormat, LogLevel
from kdaif_worker.messages import ShardStudents


class WorkerSettings(BaseSettings):
    """Everything the worker can be told.

    ``gpus`` and ``labels`` are what it offers to jobs; without ``gpus`` the driver is asked. ``processes_per_job``
    are those that share each job, each on a GPU of its own where there are GPUs, and ``shard_students`` says whether
    they hold a part of the student each (docs/scaling.md). ``hosts`` share each job, this one by its ``host_rank``: 0
    leads, and is HOST of the ``rendezvous``, HOST:PORT; the others follow it and never see the queue.
    ``max_memory_mib`` bounds a job's processes together. ``child_env`` names further variables of the environment
    that a job's process may see. ``ready_file`` is there for as long as the queue answers, of a host that follows for
    as long as it does. ``metrics`` is HOST:PORT of the page for Prometheus, empty for none; ``otlp_endpoint`` the
    collector's HTTP address for traces, empty for none.
    """

    model_config = SettingsConfigDict(env_prefix="KDAIF_", frozen=True, extra="forbid")

    redis_url: str = "redis://127.0.0.1:6379/0"
    store_url: str | None = None
    data_dir: Path = Path("~/.kdaif")
    cache_dir: Path | None = None
    worker_name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    lease_ttl_s: float = Field(default=60.0, gt=0.0)
    retry_delay_s: float = Field(default=2.0, ge=0.0)
    crash_pause_s: float = Field(default=5.0, ge=0.0)
    require_durable_redis: bool = True
    threads: int | None = Field(default=None, ge=1)
    allowed_roots: Annotated[AllowedRoots, NoDecode] = ()
    allowed_buckets: Annotated[AllowedBuckets, NoDecode] = ()
    s3_endpoint: str = ""
    gpus: int | None = Field(default=None, ge=0)
    labels: Annotated[Listed, NoDecode] = ()
    processes_per_job: int = Field(default=1, ge=1)
    shard_students: ShardStudents = "auto"
    hosts: int = Field(default=1, ge=1)
    host_rank: int = Field(default=0, ge=0)
    rendezvous: str = Field(default="", pattern=r"^(.+:\d+)?$")
    max_memory_mib: int | None = Field(default=None, ge=1)
    child_env: Annotated[Listed, NoDecode] = ()
    ready_file: Path | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: LogLevel = LogLevel.INFO
    metrics: str = ""
    otlp_endpoint: str = ""
    child_module: str = Field(default="kdaif_worker.child", description="Another training child; for tests.")

    @model_validator(mode="after")
    def _hosts_meet(self) -> WorkerSettings:
        if self.host_rank >= self.hosts:
            raise ValueError(f"host_rank is {self.host_rank}, and of {self.hosts} host(s) the last is {self.hosts - 1}")
        if self.hosts > 1 and not self.rendezvous:
            raise ValueError("several hosts need a rendezvous: HOST:PORT, by which the others reach host 0")
        return self

    @property
    def one_process_a_job(self) -> bool:
        """Whether a job's child is a process of its own, and no group of them."""
        return self.processes_per_job == self.hosts == 1

    @property
    def blob_url(self) -> str:
        """Where the blobs are; the same as the server's."""
        return self.store_url or f"file://{self.data_dir.expanduser().resolve() / 'blobs'}"

    @property
    def reads_s3(self) -> bool:
        """Whether a child needs the credentials of an object store."""
        return self.blob_url.startswith("s3://") or bool(self.allowed_buckets)

    @property
    def local_cache(self) -> Path:
        """Local copies of data sets; may be deleted at any time."""
        return self.cache_dir or self.data_dir.expanduser().resolve() / "cache" / "worker"

    @property
    def references(self) -> References:
        """What data sets may name instead of being uploaded; the same as the server's."""
        return References(self.allowed_roots, self.allowed_buckets, self.s3_endpoint)
