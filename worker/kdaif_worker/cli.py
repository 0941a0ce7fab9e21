"""``kdaif-worker``: pull jobs until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from kdaif.errors import KdaifError
from kdaif.processes import die_with_parent
from kdaif.queue import JobQueue
from kdaif_worker.settings import WorkerSettings
from kdaif_worker.supervisor import Supervisor


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="kdaif-worker",
        description="Claim distillation jobs and train students in child processes, until SIGTERM or Ctrl-C.",
        epilog="Every option can also be set by an environment variable, for example KDAIF_REDIS_URL.",
    )
    parser.add_argument("--redis-url", help="default redis://127.0.0.1:6379/0")
    parser.add_argument("--store-url", help="where blobs are kept: file:///dir or s3://bucket/prefix")
    parser.add_argument(
        "--data-dir", type=Path, help="blobs and cache where --store-url is not given, default ~/.kdaif"
    )
    parser.add_argument("--worker-name", help="shown in logs; default host and process id")
    parser.add_argument("--lease-ttl-s", type=float, help="the same as the server's, default 60")
    parser.add_argument("--threads", type=int, help="CPU threads for training; default 1 for small students, else all")
    parser.add_argument("--die-with", type=int, metavar="PID", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.die_with is not None:
        die_with_parent(arguments.die_with)
    given = {k: v for k, v in vars(arguments).items() if k in WorkerSettings.model_fields and v is not None}
    try:
        asyncio.run(work(WorkerSettings(**given)))
    except KdaifError as error:
        sys.exit(f"kdaif-worker: {error}")


async def work(settings: WorkerSettings) -> None:
    """Runs one supervisor until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    queue = await JobQueue.connect(
        settings.redis_url,
        lease_ttl_s=settings.lease_ttl_s,
        require_durable=settings.require_durable_redis,
        retry_delay_s=settings.retry_delay_s,
    )
    try:
        await Supervisor(queue, settings).run(stopping)
    finally:
        await queue.close()
