"""``kdaif-worker``: pull jobs until told to stop; or look after the workers that do."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from kdaif.errors import InvalidInputError, KdaifError
from kdaif.processes import die_with_parent
from kdaif.queue import JobQueue, require_readable
from kdaif.records import Worker
from kdaif.telemetry import LogFormat, LogLevel, configure_logs, configure_tracing, flush_tracing, metrics_endpoint
from kdaif_worker.devices import count_gpus, gpu_kind
from kdaif_worker.follower import follow
from kdaif_worker.messages import ShardStudents
from kdaif_worker.metrics import WorkerMetrics
from kdaif_worker.settings import WorkerSettings
from kdaif_worker.supervisor import Supervisor

_VERBS = ("run", "list", "pause", "resume", "drain")


def main() -> None:
    """Entry point."""
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.verb in ("pause", "resume", "drain")) != (arguments.name is not None):
        parser.error("pause, resume and drain take the NAME of a worker, and nothing else does")
    if arguments.die_with is not None:
        die_with_parent(arguments.die_with)
    given = {k: v for k, v in vars(arguments).items() if k in WorkerSettings.model_fields and v is not None}
    try:
        settings = WorkerSettings(**given)
        configure_logs(settings.log_format, settings.log_level, service="kdaif-worker", worker=settings.worker_name)
        configure_tracing("kdaif-worker", settings.otlp_endpoint, **{"service.instance.id": settings.worker_name})
        asyncio.run(work(settings) if arguments.verb == "run" else manage(settings, arguments.verb, arguments.name))
    except ValidationError as error:
        sys.exit(f"kdaif-worker: {_wrong_settings(error)}")
    except KdaifError as error:
        sys.exit(f"kdaif-worker: {error}")
    finally:
        flush_tracing()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdaif-worker",
        description="Claim distillation jobs and train students in child processes, until SIGTERM or Ctrl-C; the job "
        "at hand then goes back, and a second signal ends the worker at once.",
        epilog="Every option can also be set by an environment variable, for example KDAIF_REDIS_URL.",
    )
    parser.add_argument("--version", action="version", version=f"kdaif-worker {version('kdaif-worker')}")
    parser.add_argument(
        "verb",
        nargs="?",
        default="run",
        choices=_VERBS,
        help="run (the default); list the workers; let the worker NAME claim nothing until it is resumed; or end after "
        "its present job",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="for pause, resume and drain, as list shows it")
    parser.add_argument("--redis-url", help="default redis://127.0.0.1:6379/0")
    parser.add_argument("--store-url", help="where blobs are kept: file:///dir or s3://bucket/prefix")
    parser.add_argument(
        "--data-dir", type=Path, help="blobs and cache where --store-url is not given, default ~/.kdaif"
    )
    parser.add_argument("--worker-name", help="shown in logs and lists; default host and process id")
    parser.add_argument("--lease-ttl-s", type=float, help="the same as the server's, default 60")
    parser.add_argument("--threads", type=int, help="CPU threads for training; default 1 for small students, else all")
    parser.add_argument("--gpus", type=int, help="GPUs that jobs may ask for; default those that nvidia-smi lists")
    parser.add_argument("--processes-per-job", type=int, help="processes for each job, one for each GPU; default 1")
    parser.add_argument(
        "--shard-students",
        choices=get_args(ShardStudents),
        help="a part of the student in each process of a job; default auto, where it is large for a GPU",
    )
    parser.add_argument("--hosts", type=int, help="hosts that share each job, each with such a worker; default 1")
    parser.add_argument("--host-rank", type=int, help="of this one, from 0, which claims jobs; the others follow it")
    parser.add_argument("--rendezvous", metavar="HOST:PORT", help="where hosts meet: an address of host 0, a free port")
    parser.add_argument(
        "--hosts-wait-s", type=int, help="seconds until a job whose hosts have not all come goes back; default 600"
    )
    parser.add_argument("--labels", metavar="LABEL,...", help="labels that jobs may ask for, beside the GPUs' kind")
    parser.add_argument("--max-memory-mib", type=int, help="most memory of a job's processes; default no limit")
    parser.add_argument("--ready-file", type=Path, help="a file that is there while the queue answers, for probes")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="a page for Prometheus, such as :9464; default none")
    parser.add_argument("--log-format", choices=list(LogFormat), help="default console")
    parser.add_argument("--log-level", choices=list(LogLevel), help="default info")
    parser.add_argument("--otlp-endpoint", metavar="URL", help="send traces there, such as http://collector:4318")
    parser.add_argument("--die-with", type=int, metavar="PID", help=argparse.SUPPRESS)
    return parser


async def work(settings: WorkerSettings) -> None:
    """Runs one supervisor until SIGTERM, SIGINT or its drain. A second signal ends it and its child at once."""
    stopping = asyncio.Event()
    cards = count_gpus()
    if 0 < cards < settings.processes_per_job:
        raise InvalidInputError(
            f"processes_per_job is {settings.processes_per_job}, and this host has {cards} GPU(s): each process needs "
            "one of its own. Start fewer, or hide the GPUs (CUDA_VISIBLE_DEVICES=)"
        )
    metrics = WorkerMetrics({"cache": settings.local_cache})
    if settings.host_rank > 0:
        _stop_at_signals(stopping, lambda: None)
        async with metrics_endpoint(settings.metrics, metrics.registry):
            metrics.ready.set(True)
            await follow(settings, stopping)
        return
    gpus = cards if settings.gpus is None else settings.gpus
    kind = gpu_kind() if gpus else None
    settings = settings if kind is None else settings.model_copy(update={"labels": (*settings.labels, kind)})
    await require_readable(settings.redis_url)
    queue = await _connected(settings)
    supervisor = Supervisor(queue, settings, gpus=gpus, metrics=metrics)
    _stop_at_signals(stopping, supervisor.kill_child)
    try:
        async with metrics_endpoint(settings.metrics, metrics.registry):
            await supervisor.run(stopping)
    finally:
        await queue.close()


def _stop_at_signals(stopping: asyncio.Event, kill_child: Callable[[], None]) -> None:
    """At the first one; at the second at once, and what this worker started dies with it."""

    def stop(number: int) -> None:
        if stopping.is_set():
            kill_child()
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)


async def manage(settings: WorkerSettings, verb: str, name: str | None) -> None:
    """What an operator does to workers that run elsewhere."""
    queue = await _connected(settings)
    try:
        if name is None:
            sys.stdout.write(f"{listing(await queue.workers())}\n")
        elif verb == "pause":
            await queue.pause_worker(name)
        elif verb == "resume":
            await queue.unpause_worker(name)
        else:
            await queue.drain_worker(name)
    finally:
        await queue.close()


def listing(workers: Sequence[Worker]) -> str:
    """A table for people, one worker a line."""
    heads = ("NAME", "MODE", "SEEN", "GPUS", "LABELS", "JOB", "NOTE")
    rows = [
        (
            worker.offer.name,
            worker.mode.value,
            "now" if worker.is_present else "silent",
            str(worker.offer.gpus),
            ",".join(sorted(worker.offer.labels)) or "-",
            f"{worker.tenant}/{worker.job_id}" if worker.job_id else "-",
            worker.note,
        )
        for worker in workers
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return "\n".join(line.rstrip() for line in lines)


async def _connected(settings: WorkerSettings) -> JobQueue:
    return await JobQueue.connect(
        settings.redis_url,
        lease_ttl_s=settings.lease_ttl_s,
        require_durable=settings.require_durable_redis,
        retry_delay_s=settings.retry_delay_s,
    )


def _wrong_settings(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
