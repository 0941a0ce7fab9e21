"""The whole stack on one machine: Valkey and a worker as children, the gRPC server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path

import structlog

from kdaif.errors import FailedPreconditionError, UnavailableError
from kdaif.store import written
from kdaif_server.embedded.valkey import EmbeddedValkey
from kdaif_server.server import RunningServer, running_server
from kdaif_server.settings import ServerSettings

_WORKER_STOP_S = 10.0
_RESTART_S = 1.0
_DASHBOARD = "127.0.0.1:8080"
_VALKEY_CHECK_S = 1.0
_OF_ACCESS = ("KDAIF_API_KEY", "KDAIF_KEYS_", "KDAIF_TLS_", "KDAIF_JWT_", "KDAIF_CLIENT_")
_log = structlog.get_logger("kdaif.stack")


async def up(settings: ServerSettings, *, ready_file: Path | None, announce: Callable[[RunningServer], None]) -> None:
    """Runs until SIGINT or SIGTERM. ``announce`` is called with the server once calls are answered.

    Raises:
        FailedPreconditionError: another stack already uses the data directory, or kdaif-worker is not installed.
        UnavailableError: Valkey ended by itself; its log says why.
    """
    if find_spec("kdaif_worker") is None:
        raise FailedPreconditionError(
            "kdaif-worker is not installed, and nothing would train: pip install kdaif-worker"
        )
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    settings.root.mkdir(parents=True, exist_ok=True)
    with EmbeddedValkey(settings.root / "valkey") as valkey:
        settings = settings.model_copy(update={"redis_url": valkey.url} | _dashboard(settings))
        async with running_server(settings) as server, _worker(settings):
            if ready_file is not None:
                _write_ready(ready_file, server)
            announce(server)
            await _until_asked(asked, valkey)


async def _until_asked(asked: asyncio.Event, valkey: EmbeddedValkey) -> None:
    while valkey.is_alive():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), _VALKEY_CHECK_S)
            return
    raise UnavailableError(f"Valkey ended by itself. What it acknowledged is on disk; see {valkey.log_file}.")


@contextlib.asynccontextmanager
async def _worker(settings: ServerSettings) -> AsyncIterator[None]:
    """One worker child, started again when it dies, ended in order on the way out."""
    keeper = asyncio.create_task(_keep_worker(settings))
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


async def _keep_worker(settings: ServerSettings) -> None:
    environment = worker_environment(settings)
    command = [sys.executable, "-m", "kdaif_worker", "--die-with", str(os.getpid())]
    while True:
        # Its own session: Ctrl-C in the terminal reaches us alone, and we end the worker in order.
        process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        _log.error("worker ended, starting another", exit_code=code, after_s=_RESTART_S)
        await asyncio.sleep(_RESTART_S)


def worker_environment(settings: ServerSettings) -> dict[str, str]:
    """Of the worker beside this server. It calls nobody who asks for a key, and so is given none."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_ACCESS)} | {
        "KDAIF_REDIS_URL": settings.redis_url,
        "KDAIF_STORE_URL": settings.blob_url,
        "KDAIF_CACHE_DIR": str(settings.cache_dir / "worker"),
        "KDAIF_LEASE_TTL_S": str(settings.lease_ttl_s),
        "KDAIF_LOG_FORMAT": settings.log_format,
        "KDAIF_LOG_LEVEL": settings.log_level,
        "KDAIF_METRICS": settings.worker_metrics,
        "KDAIF_OTLP_ENDPOINT": settings.otlp_endpoint,
        **worker_places(settings),
    }


def worker_places(settings: ServerSettings) -> dict[str, str]:
    """What data sets by reference may name, for the environment of the worker beside this server."""
    return {
        "KDAIF_ALLOWED_ROOTS": written(settings.allowed_roots),
        "KDAIF_ALLOWED_BUCKETS": written(settings.allowed_buckets),
        "KDAIF_S3_ENDPOINT": settings.s3_endpoint,
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _WORKER_STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _dashboard(settings: ServerSettings) -> dict[str, object]:
    """Where nothing is said of it, the dashboard is at its usual place, or anywhere if that is taken."""
    return {} if settings.dashboard else {"dashboard": _DASHBOARD, "dashboard_or_free": True}


def _write_ready(file: Path, server: RunningServer) -> None:
    """Atomic, so that whoever waits for the file never reads half of it."""
    part = file.with_suffix(".part")
    ready = {"target": f"127.0.0.1:{server.port}", "pid": os.getpid(), "dashboard": server.dashboard_url}
    part.write_text(json.dumps(ready))
    part.replace(file)
