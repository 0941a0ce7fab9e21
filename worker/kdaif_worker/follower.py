"""A host that lends its devices to the jobs of another: it waits where they meet, and joins each attempt there is.

It never sees the queue. The rendezvous lives in the leader's torchrun, and so as long as an attempt: where it answers,
there is one to join; when it is gone, so is the attempt, and what this host started for it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import structlog

from kdaif_worker.child_environment import child_environment
from kdaif_worker.child_process import group_program
from kdaif_worker.settings import WorkerSettings

_LOOK_S = 0.5
_ANSWERS_WITHIN_S = 5.0
_READY_S = 15.0
_EXPORTS_S = 60.0

_log = structlog.get_logger("kdaif.worker")


async def follow(settings: WorkerSettings, stopping: asyncio.Event) -> None:
    """Joins one attempt after the other until ``stopping`` is set; nothing of it runs on return."""
    _log.info("following", rendezvous=settings.rendezvous, host_rank=settings.host_rank)
    ready = asyncio.create_task(_show_ready(settings.ready_file))
    try:
        while not stopping.is_set():
            if await _is_open(settings.rendezvous) and await _joined(settings, stopping) == 0:
                await _until_closed(settings.rendezvous, stopping)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _LOOK_S)
    finally:
        ready.cancel()
        if (file := settings.ready_file) is not None:
            await asyncio.to_thread(file.unlink, missing_ok=True)


async def _show_ready(file: Path | None) -> None:
    """A host that follows is well for as long as it looks: nobody to follow is no fault of its own."""
    while file is not None:
        await asyncio.to_thread(file.touch)
        await asyncio.sleep(_READY_S)


async def _is_open(rendezvous: str) -> bool:
    """Whether somebody listens there. A look costs nothing, where torchrun would take seconds of a core each minute."""
    host, _, port = rendezvous.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), _ANSWERS_WITHIN_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _until_closed(rendezvous: str, stopping: asyncio.Event) -> None:
    """A leader that still evaluates and exports has nothing to join; bounded, for its end may go by unseen."""
    until = asyncio.get_running_loop().time() + _EXPORTS_S
    while not stopping.is_set() and asyncio.get_running_loop().time() < until and await _is_open(rendezvous):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _LOOK_S)


async def _joined(settings: WorkerSettings, stopping: asyncio.Event) -> int:
    """The exit code of this host's part of an attempt, once that is over or was to stop."""
    environment = child_environment(os.environ, reads_s3=settings.reads_s3, also=settings.child_env)
    own = ("--parent", str(os.getpid()), "--cache-dir", str(settings.local_cache))
    with tempfile.TemporaryDirectory(prefix="kdaif-child-", ignore_cleanup_errors=True) as scratch:
        group = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*group_program(settings), *own),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env=environment | {"TMPDIR": scratch},
            start_new_session=True,
        )
        waits = {asyncio.create_task(group.wait()), asyncio.create_task(stopping.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group.pid, signal.SIGKILL)  # its processes die with it
            code = await group.wait()
    _log.info("left an attempt", code=code)
    return code
