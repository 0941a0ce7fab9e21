"""A host that lends its devices to the jobs of another: it waits where they meet, and joins each attempt there is.

It never sees the queue. The rendezvous lives in the leader's torchrun, and so as long as an attempt: where it answers,
there is one to join; when it is gone, so is the attempt, and what this host started for it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from kdaif.errors import FailureReason
from kdaif.records import Failure
from kdaif.telemetry import LogFormat
from kdaif_worker.child_environment import Secrets, child_environment
from kdaif_worker.child_process import LESS_MEMORY, group_program
from kdaif_worker.memory import held_bytes
from kdaif_worker.messages import FailedMessage, GivenBackMessage, encode
from kdaif_worker.output_tail import OutputTail
from kdaif_worker.settings import WorkerSettings

_LOOK_S = 0.5
_ANSWERS_WITHIN_S = 5.0
_READY_S = 15.0
_MEMORY_CHECK_S = 0.2
_CHUNK_BYTES = 65_536
# A leader whose machine is gone says nothing more: its kernel is asked whether it is there.
_ASKED_AFTER_S, _ASKED_TIMES = 15, 3
_LEADER_HEARS_WITHIN_S = 10.0
_STDERR_ENDS_WITHIN_S = 2.0

_log = structlog.get_logger("kdaif.worker")


async def follow(settings: WorkerSettings, stopping: asyncio.Event) -> None:
    """Joins one attempt after the other until ``stopping`` is set; nothing of it runs on return."""
    _log.info("following", rendezvous=settings.rendezvous, host_rank=settings.host_rank)
    ready = asyncio.create_task(_show_ready(settings.ready_file))
    stopped = asyncio.create_task(stopping.wait())
    try:
        while not stopped.done():
            async with _line_to(settings.rendezvous) as line:
                if line is not None and await _joined(settings, line, stopped) == 0:
                    # A leader that still evaluates and exports has nothing to join.
                    await _first_of(line, stopped)
            await _first_of(stopped, timeout_s=_LOOK_S)
    finally:
        ready.cancel()
        stopped.cancel()
        if (file := settings.ready_file) is not None:
            await asyncio.to_thread(file.unlink, missing_ok=True)


async def _show_ready(file: Path | None) -> None:
    """A host that follows is well for as long as it looks: nobody to follow is no fault of its own."""
    while file is not None:
        await asyncio.to_thread(file.touch)
        await asyncio.sleep(_READY_S)


@contextlib.asynccontextmanager
async def _line_to(rendezvous: str) -> AsyncIterator[asyncio.Task[None] | None]:
    """A task that ends with whoever listens there; None where nobody does.

    A look costs nothing, where torchrun would take seconds of a core each minute.
    """
    host, _, port = rendezvous.rpartition(":")
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), _ANSWERS_WITHIN_S)
    except (OSError, TimeoutError):
        yield None
        return
    _ask_after(writer.get_extra_info("socket"))
    line = asyncio.create_task(_until_closed(reader))
    try:
        yield line
    finally:
        line.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _ask_after(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASKED_AFTER_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _ASKED_AFTER_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _ASKED_TIMES)


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(_CHUNK_BYTES):
            pass


async def _joined(settings: WorkerSettings, line: asyncio.Task[None], stopped: asyncio.Task[Any]) -> int:
    """The exit code of this host's part of an attempt, once that is over, the leader gone, or this worker to stop."""
    environment = child_environment(os.environ, reads_s3=settings.reads_s3, also=settings.child_env)
    own = ("--parent", str(os.getpid()), "--cache-dir", str(settings.local_cache))
    with tempfile.TemporaryDirectory(prefix="kdaif-child-", ignore_cleanup_errors=True) as scratch:
        group = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*group_program(settings), *own),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment | {"TMPDIR": scratch},
            process_group=0,
        )
        _log.info("joins an attempt", rendezvous=settings.rendezvous)
        shown = asyncio.create_task(_show(group, settings))
        ended = asyncio.create_task(group.wait())
        outgrown = asyncio.create_task(_outgrown(group.pid, settings.max_memory_mib))
        try:
            await _first_of(ended, stopped, outgrown, line)
            by_worker = outgrown.done() or stopped.done()
            ended_by = "the first host" if line.done() else "this worker" if by_worker else "itself"
            if outgrown.done():
                await _tell_leader(group, outgrown.result(), ended)
            elif stopped.done():
                why = f"Host {settings.host_rank} of the group was stopped."
                await _tell_leader(group, GivenBackMessage(why), ended)
        finally:
            outgrown.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGKILL)  # its processes die with it
            code = await ended
            await _first_of(shown, timeout_s=_STDERR_ENDS_WITHIN_S)
            shown.cancel()
    _log.info("left an attempt", ended_by=ended_by, code=code)
    return code


async def _show(group: asyncio.subprocess.Process, settings: WorkerSettings) -> None:
    """In this worker's log what its processes print, without secrets."""

    def show(line: str) -> None:
        if settings.log_format is LogFormat.JSON:
            _log.info("child", child=group.pid, line=line)
        else:
            sys.stderr.write(f"  child {group.pid}: {line}\n")

    if group.stderr is None:
        raise AssertionError("started with a pipe")
    tail = OutputTail(Secrets(os.environ).blanked, show)
    while chunk := await group.stderr.read(_CHUNK_BYTES):
        tail.add(chunk)


async def _outgrown(pid: int, most_mib: int | None) -> FailedMessage:
    """Once this host's processes hold more memory than that; never where there is no bound."""
    while most_mib is not None:
        held = await asyncio.to_thread(held_bytes, pid, most_mib << 20)
        if held > most_mib << 20:
            figures = f"hold {math.ceil(held / 2**20)} MiB, and the max_memory_mib of their worker is {most_mib}"
            message = f"the processes of this host {figures}. {LESS_MEMORY}"
            _log.error("an attempt ends", why=message)
            return FailedMessage(Failure(FailureReason.OUT_OF_MEMORY, message, retryable=False))
        await asyncio.sleep(_MEMORY_CHECK_S)
    await asyncio.Future()
    raise AssertionError("never")


async def _tell_leader(
    group: asyncio.subprocess.Process, word: FailedMessage | GivenBackMessage, ended: asyncio.Task[int]
) -> None:
    """Through the first process of this host; its group is over once the leader has heard it."""
    if group.stdin is None:
        raise AssertionError("started with a pipe")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        group.stdin.write(encode(word))
        await group.stdin.drain()
    await _first_of(ended, timeout_s=_LEADER_HEARS_WITHIN_S)


async def _first_of(*tasks: asyncio.Task[Any], timeout_s: float | None = None) -> None:
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
