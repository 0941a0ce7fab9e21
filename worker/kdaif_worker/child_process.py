"""The supervisor's end of the training child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator

from kdaif.errors import FailureReason
from kdaif.records import Failure
from kdaif_worker.messages import Assignment, Message, decode

_STDERR_LINES = 40
_LINE_LIMIT_BYTES = 16 * 1024 * 1024


class Child:
    """A running training process, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, messages: asyncio.StreamReader) -> None:
        self._process = process
        self._messages = messages
        self._stderr_tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._stderr = asyncio.create_task(self._follow_stderr())

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, assignment: Assignment, module: str) -> AsyncIterator[Child]:
        """Spawned from ``module``, not forked; on leaving the whole process group is gone."""
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", module, "--messages-fd", str(write_fd), "--parent", str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        reader = asyncio.StreamReader(limit=_LINE_LIMIT_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
        )
        child = cls(process, reader)
        try:
            await child._hand_over(assignment)
            yield child
        finally:
            child.kill()
            await process.wait()
            await child._stderr
            transport.close()

    async def messages(self) -> AsyncIterator[Message]:
        """What the child says, until it closes its pipe."""
        while line := await self._messages.readline():
            if not line.endswith(b"\n"):
                return  # killed in the middle of a line
            yield decode(line)

    async def death(self) -> Failure:
        """Why the child ended without a last word: the signal or exit code, and the end of its stderr."""
        code = await self._process.wait()
        await self._stderr
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tail = "\n".join(self._stderr_tail)
        return Failure(
            FailureReason.CRASHED, f"The training process {how}." + (f"\n{tail}" if tail else ""), retryable=True
        )

    def kill(self) -> None:
        """Kills the process group: data loaders and all."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _hand_over(self, assignment: Assignment) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError("started with a pipe")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died at once; death() tells
            stdin.write(assignment.to_json())
            await stdin.drain()
            stdin.close()

    async def _follow_stderr(self) -> None:
        stderr = self._process.stderr
        if stderr is None:
            raise AssertionError("started with a pipe")
        while line := await stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._stderr_tail.append(text)
            sys.stderr.write(f"  child {self._process.pid}: {text}\n")
