"""Runs a model file of the user's own in a process that can do little else, and that never outlives the call."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kdaif.errors import InvalidInputError, OutOfMemoryError
from kdaif.scratch import Scratch
from kdaif.teachers import onnx_child

_ERROR_BYTES = 4000


@dataclass(frozen=True)
class Limits:
    """What the process may use: memory for the model, beyond that of the interpreter; wall and processor time."""

    max_memory_mib: int
    max_seconds: int


@dataclass(frozen=True)
class Question:
    """How the model is asked.

    Attributes:
        input: name of the input.
        output: name of the output.
        dtype: of the input.
        shape: of one row of it.
        batch: rows in one run.
        pad: whether every run needs a full batch.
        rows: N.
        classes: C.
    """

    input: str
    output: str
    dtype: str
    shape: tuple[int, ...]
    batch: int
    pad: bool
    rows: int
    classes: int


def run_in_sandbox(
    model: Path,
    question: Question,
    batches: Iterator[NDArray[Any]],
    limits: Limits,
    field: str,
    scratch: Scratch | None = None,
) -> NDArray[np.float32]:
    """The model's output for N rows, float32 ``[N, C]``; not checked to be finite. As `hear_in_sandbox`."""
    room = Scratch() if scratch is None else scratch
    outputs: NDArray[np.float32] = room.empty((question.rows, question.classes), np.float32)
    hear_in_sandbox(model, question, batches, limits, field, room, outputs.__setitem__)
    return outputs


def hear_in_sandbox(
    model: Path,
    question: Question,
    batches: Iterator[NDArray[Any]],
    limits: Limits,
    field: str,
    scratch: Scratch,
    hear: Callable[[slice, NDArray[np.float32]], None],
) -> None:
    """Asks the model about N rows.

    The process is a fresh interpreter without this one's environment, in a process group of its own. It is killed when
    the time is over and when this process ends, can write no file and leave no core, opens few files, and is
    reaped on every path.

    Args:
        model: the file; checked by `inspect_onnx`.
        question: names, types and counts.
        batches: N rows in all, of ``question.dtype``, at most ``question.batch`` at a time.
        limits: memory and time.
        field: where the teacher stands in the request.
        scratch: of the rows.
        hear: takes the outputs, float32 ``[M, C]``, a run of rows at a time.

    Raises:
        InvalidInputError: the model cannot be loaded or run, takes too long, or answers in another shape.
        OutOfMemoryError: it needs more memory than it may have.
    """
    with model.open("rb") as file:
        request = {
            **question.__dict__,
            "parent": os.getpid(),
            "model_fd": file.fileno(),
            "max_memory_bytes": limits.max_memory_mib << 20,
            "max_seconds": limits.max_seconds,
        }
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(onnx_child.__file__).absolute()), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(file.fileno(),),
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd="/",
            start_new_session=True,
        )
    whole, errors, overdue = _converse(process, question, scratch, batches, limits, hear)
    _raise_for(process.returncode, errors, overdue, limits, field)
    if not whole:
        raise InvalidInputError.of(f"{field}.model", "the model's process gave another number of values than rows need")


def _converse(
    process: subprocess.Popen[bytes],
    question: Question,
    scratch: Scratch,
    batches: Iterator[NDArray[Any]],
    limits: Limits,
    hear: Callable[[slice, NDArray[np.float32]], None],
) -> tuple[bool, str, bool]:
    """Feeds the rows and reads the outputs.

    Returns:
        Whether there were as many as are wanted, the end of stderr, and whether the time ran out.
    """
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError("started with pipes")
    overdue = threading.Event()
    failures: list[BaseException] = []
    tail = bytearray()

    def stop() -> None:
        overdue.set()
        _kill_group(process)

    timer = threading.Timer(limits.max_seconds, stop)
    helpers = [
        threading.Thread(target=_guarded, args=(lambda: _feed(process.stdin, batches), failures)),
        threading.Thread(target=_guarded, args=(lambda: _follow(process.stderr, tail), failures)),
    ]
    try:
        timer.start()
        for helper in helpers:
            helper.start()
        full = _read(process.stdout, question, scratch, hear)
        too_many = full and bool(process.stdout.read(1))
        if not too_many:
            process.wait()  # the timer sees to it that this ends
    finally:
        timer.cancel()
        _kill_group(process)
        process.wait()
        for helper in helpers:
            helper.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    if failures:
        raise failures[0]
    return full and not too_many, tail.decode(errors="replace").strip(), overdue.is_set()


def _read(
    pipe: IO[bytes], question: Question, scratch: Scratch, hear: Callable[[slice, NDArray[np.float32]], None]
) -> bool:
    """Whether the pipe held as much as the rows need."""
    for rows in scratch.slabs(question.rows, 4 * question.classes):
        outputs = np.empty((rows.stop - rows.start, question.classes), np.float32)
        room = outputs.reshape(-1).view(np.uint8).data
        while room:
            got = pipe.readinto(room)  # type: ignore[attr-defined]
            if not got:
                return False
            room = room[got:]
        hear(rows, outputs)
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _guarded(work: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        failures.append(error)


def _feed(pipe: IO[bytes] | None, batches: Iterator[NDArray[Any]]) -> None:
    if pipe is None:
        return
    with contextlib.suppress(BrokenPipeError):  # it died; its exit code tells
        try:
            for batch in batches:
                pipe.write(np.ascontiguousarray(batch).data)
        finally:
            pipe.close()


def _follow(pipe: IO[bytes] | None, tail: bytearray) -> None:
    while pipe is not None and (read := os.read(pipe.fileno(), 1 << 16)):
        tail += read
        del tail[:-_ERROR_BYTES]


def _raise_for(code: int, errors: str, overdue: bool, limits: Limits, field: str) -> None:
    if code == 0 and not overdue:
        return
    if overdue or code == -signal.SIGXCPU:
        raise InvalidInputError.of(
            f"{field}.max_seconds",
            f"the model did not label all rows within {limits.max_seconds} s; allow more, or give its outputs as a "
            "column",
        )
    # Where an allocation fails outside of any handler, C++ aborts; SIGKILL is the kernel's own answer.
    if code in (onnx_child.MEMORY, -signal.SIGKILL) or (code == -signal.SIGABRT and "bad_alloc" in errors):
        raise OutOfMemoryError(
            f"{field}.max_memory_mib: the model needs more than {limits.max_memory_mib} MiB; allow more, or give its "
            "outputs as a column"
        )
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code in (onnx_child.MODEL, onnx_child.OUTPUT):
        how = "could not run" if code == onnx_child.MODEL else "answers in another shape"
    raise InvalidInputError.of(
        f"{field}.model", f"the model {how}: {errors[-1000:]}; try the file with onnxruntime and export it again"
    )
