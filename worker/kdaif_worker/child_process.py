"""The supervisor's end of the training child."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable

import structlog

from kdaif.errors import FailureReason
from kdaif.records import Failure, Shard
from kdaif.telemetry import LogFormat
from kdaif_worker.child_environment import Secrets, child_environment
from kdaif_worker.memory import held_bytes, oom_kills
from kdaif_worker.messages import Assignment, Message, decode, encode_answer
from kdaif_worker.output_tail import OutputTail
from kdaif_worker.settings import WorkerSettings

_LINE_LIMIT_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 65_536
_MEMORY_CHECK_S = 0.2
_EXIT_POLL_S = 0.02
_ENDS_WITHIN_S = 10.0
_STDERR_ENDS_WITHIN_S = 2.0
_LESS_MEMORY = (
    "Use a smaller batch_size, curvature_rows or student, or a worker with more memory and a higher max_memory_mib."
)

Show = Callable[[int, str], None]
"""Takes the id of a child and a line of its standard error."""

_log = structlog.get_logger("kdaif.worker")


class Child:
    """A running training process, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process, messages: asyncio.StreamReader, show: Show) -> None:
        self._process = process
        self._messages = messages
        self._killed = False
        self._oom_kills_before = oom_kills()
        self._tail = OutputTail(Secrets(os.environ).blanked, lambda line: show(process.pid, line))
        self._stderr = asyncio.create_task(self._follow_stderr())

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, assignment: Assignment, settings: WorkerSettings) -> AsyncIterator[Child]:
        """Spawned, not forked; on leaving the whole process group is gone, and so are its temporary files."""
        with tempfile.TemporaryDirectory(prefix="kdaif-child-", ignore_cleanup_errors=True) as scratch:
            environment = child_environment(os.environ, reads_s3=settings.reads_s3, also=settings.child_env)
            show = _logged(assignment) if settings.log_format is LogFormat.JSON else _printed
            async with cls._spawned(_program(settings), environment | {"TMPDIR": scratch}, show) as child:
                await child.hand_over(assignment)
                if not is_told_more(assignment, settings):
                    child._close_stdin()
                yield child

    @classmethod
    @contextlib.asynccontextmanager
    async def _spawned(cls, program: tuple[str, ...], environment: dict[str, str], show: Show) -> AsyncIterator[Child]:
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(*program, "--messages-fd", str(write_fd), "--parent", str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
                env=environment,
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
        child = cls(process, reader, show)
        try:
            yield child
        finally:
            child.kill()
            await child._ended()
            await child._stderr_ended()
            transport.close()

    async def messages(self) -> AsyncIterator[Message]:
        """What the child says, until it closes its pipe."""
        while line := await self._messages.readline():
            if not line.endswith(b"\n"):
                return  # killed in the middle of a line
            yield decode(line)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, and nobody has killed it."""
        return self._process.returncode is None and not self._killed

    async def hand_over(self, assignment: Assignment) -> None:
        """What it is to do: the first thing that it hears, or another shard of the job whose shard it has scored."""
        await self._write(assignment.to_json() + b"\n")

    async def tell(self, shard: Shard | None) -> None:
        """Answers a child that waits for its next shard."""
        await self._write(encode_answer(shard))

    async def _ended(self) -> int:
        """The exit code, once there is one.

        ``Process.wait`` waits for the pipes too, and so for a helper that ran away with one of them.
        """
        while self._process.returncode is None:  # noqa: ASYNC110 - asyncio has no event for it
            await asyncio.sleep(_EXIT_POLL_S)
        return self._process.returncode

    async def death(self) -> Failure:
        """Why the child ended without a last word: the signal or exit code, and the end of its stderr."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended(), _ENDS_WITHIN_S)
        fell_silent = self._process.returncode is None
        if fell_silent:
            self.kill()
        code = await self._ended()
        await self._stderr_ended()
        if fell_silent:
            message = "The training process closed its pipe without a last word, and did not end."
            return Failure(FailureReason.CRASHED, message, retryable=True, log_tail=self.log_tail())
        if code == -signal.SIGKILL and not self._killed and oom_kills() > self._oom_kills_before:
            # Worth a retry: it may have been a neighbour that took the memory.
            ran_out = "The kernel killed the training process, for the machine or its container ran out of memory."
            message = f"{ran_out} {_LESS_MEMORY}"
            return Failure(FailureReason.OUT_OF_MEMORY, message, retryable=True, log_tail=self.log_tail())
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        return Failure(
            FailureReason.CRASHED,
            f"The training process {how}. The end of its log is in log_tail.",
            retryable=True,
            log_tail=self.log_tail(),
        )

    def log_tail(self) -> str:
        """The end of what it wrote to stderr so far, without secrets."""
        return self._tail.text()

    async def over_memory(self, most_mib: int) -> Failure:
        """Returns once the child and its helpers hold more than so much memory."""
        while True:
            await asyncio.sleep(_MEMORY_CHECK_S)
            held = await asyncio.to_thread(held_bytes, self._process.pid, most_mib << 20)
            if held > most_mib << 20:
                figures = f"held {math.ceil(held / 2**20)} MiB, and this worker's max_memory_mib is {most_mib}"
                message = f"The training process and its helpers {figures}. {_LESS_MEMORY}"
                return Failure(FailureReason.OUT_OF_MEMORY, message, retryable=False, log_tail=self.log_tail())

    def kill(self) -> None:
        """Kills the process group: data loaders and all."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _stderr_ended(self) -> None:
        """Whatever is left to read. A helper that left the process group may hold the pipe open for longer than it."""
        _, pending = await asyncio.wait({self._stderr}, timeout=_STDERR_ENDS_WITHIN_S)
        for task in pending:
            task.cancel()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _write(self, line: bytes) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise AssertionError("started with a pipe")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died; death() tells
            stdin.write(line)
            await stdin.drain()

    async def _follow_stderr(self) -> None:
        stderr = self._process.stderr
        if stderr is None:
            raise AssertionError("started with a pipe")
        while chunk := await stderr.read(_CHUNK_BYTES):
            self._tail.add(chunk)


def is_told_more(assignment: Assignment, settings: WorkerSettings) -> bool:
    """Whether the child may ask for shards of its scorings, or wait for another shard to score.

    Several processes that share a job share its scorings among themselves.
    """
    cuts = assignment.spec.weighting.rows_per_shard > 0
    return settings.one_process_a_job and (cuts or assignment.shard is not None)


def _program(settings: WorkerSettings) -> tuple[str, ...]:
    if settings.one_process_a_job:
        return ("-m", settings.child_module)
    return group_program(settings)


def group_program(settings: WorkerSettings) -> tuple[str, ...]:
    """What becomes torchrun: of the host that leads, or of one that follows."""
    group = ("-m", "kdaif_worker.group", "--processes", str(settings.processes_per_job))
    hosts = (
        "--hosts",
        str(settings.hosts),
        "--host-rank",
        str(settings.host_rank),
        "--rendezvous",
        settings.rendezvous,
    )
    return (*group, "--child-module", settings.child_module, *(hosts if settings.hosts > 1 else ()))


def _printed(pid: int, line: str) -> None:
    sys.stderr.write(f"  child {pid}: {line}\n")


def _logged(assignment: Assignment) -> Show:
    log = _log.bind(
        tenant=assignment.tenant, job=assignment.job_id, attempt=assignment.attempt, request_id=assignment.call
    )
    return lambda pid, line: log.info("child", child=pid, line=line)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal
