"""Several server processes behind one port, and the one that looks after them.

One process is one event loop, and so about one core. The kernel gives each new connection to one of those that listen
(SO_REUSEPORT); what they share is where several servers share it, in Redis and in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import multiprocessing
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection

import structlog
import uvloop

from kdaif.errors import KdaifError, UnavailableError
from kdaif.processes import die_with_parent
from kdaif.telemetry import configure_logs, configure_tracing, flush_tracing, parse_address
from kdaif_server.server import RunningServer, serve
from kdaif_server.settings import ServerSettings

_RESTART_S = 1.0
_spawn = multiprocessing.get_context("spawn")  # gRPC's threads do not survive a fork
_log = structlog.get_logger("kdaif.server")


def work_in_turns() -> None:
    """Lets no thread of this process interrupt another that is at work, from before gRPC starts its threads.

    Each of them wakes for some microseconds several times in a call, and the kernel would each time take the processor
    away from the event loop for it. A processor that is free is taken as before.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):  # a sandbox may forbid it; calls then cost more
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class ServerProcesses:
    """``settings.processes`` of them, until SIGTERM or SIGINT; one that ends before is started again."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._alive: dict[int, multiprocessing.process.BaseProcess] = {}

    async def run(self) -> None:
        """Returns when all have drained.

        Raises:
            UnavailableError: a port is taken, or one could not start; it has said why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        _require_free(self._settings.host, self._settings.port, "--port")
        if self._settings.health:
            _require_free(*parse_address(self._settings.health, "health"), "--health")
        keeping: list[asyncio.Task[None]] = []
        try:
            # The first alone: it brings Redis' data up to date, makes a key, finds the port, and says what is wrong.
            port = await self._start(0)
            self._settings = self._settings.model_copy(update={"port": port})
            await asyncio.gather(*(self._start(number) for number in range(1, self._settings.processes)))
            _log.info("all processes serve", port=port, processes=len(self._alive))
            keeping = [asyncio.create_task(self._keep(number)) for number in self._alive]
            await self._stopping.wait()
        except UnavailableError:
            if not self._stopping.is_set():
                raise
        finally:
            self._stop()
            for task in keeping:
                task.cancel()
            for process in self._alive.values():
                process.join()

    def _stop(self) -> None:
        self._stopping.set()
        for process in self._alive.values():
            process.terminate()

    async def _start(self, number: int) -> int:
        """Its port, once it serves. Raises UnavailableError."""
        ours, theirs = _spawn.Pipe(duplex=False)
        arguments = (self._settings.of_process(number), number, os.getpid(), theirs)
        process = _spawn.Process(target=_serve_one, args=arguments, name=f"kdaif-server {number}")
        process.start()
        theirs.close()
        self._alive[number] = process
        with ours:
            await _readable(ours.fileno())
            try:
                port: int = ours.recv()
            except EOFError:
                process.join()
                raise UnavailableError(
                    f"process {number} of the server ended with {process.exitcode} before it served; it has said why"
                ) from None
        return port

    async def _keep(self, number: int) -> None:
        while True:
            process = self._alive[number]
            await _readable(process.sentinel)
            process.join()
            if self._stopping.is_set():
                return
            _log.error("A SERVER PROCESS ENDED, another is started", process=number, exit_code=process.exitcode)
            await asyncio.sleep(_RESTART_S)
            with contextlib.suppress(UnavailableError):  # as the next round says
                await self._start(number)


async def _readable(descriptor: int) -> None:
    """Returns when there is something to read, or the other end is closed."""
    loop = asyncio.get_running_loop()
    found = asyncio.Event()
    loop.add_reader(descriptor, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(descriptor)


def _require_free(host: str, port: int, option: str) -> None:
    """Raises UnavailableError where another program listens, whose port SO_REUSEPORT would let us share unseen."""
    if not port:
        return
    name = host.strip("[]") or "0.0.0.0"  # noqa: S104 - tried, and closed
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections do not count
            probe.bind(address)
            probe.listen()
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error})"
        raise UnavailableError(f"{host}:{port} {why}. End what listens there, or choose {option}.") from error


def _serve_one(settings: ServerSettings, number: int, parent_pid: int, started: Connection) -> None:
    """The whole life of one of them."""
    die_with_parent(parent_pid)
    configure_logs(settings.log_format, settings.log_level, service="kdaif-server", process=str(number))
    configure_tracing("kdaif-server", settings.otlp_endpoint)

    def announce(server: RunningServer) -> None:
        with started:
            started.send(server.port)

    try:
        uvloop.run(serve(settings, shares_port=True, announce=announce))
    except KdaifError as error:
        sys.exit(f"kdaif-server: {error}")
    finally:
        flush_tracing()
