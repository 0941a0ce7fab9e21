"""The training child: ``python -m kdaif_worker.child``. Reads one assignment, writes messages, ends."""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from kdaif.errors import (
    DataCorruptedError,
    FailureReason,
    InvalidInputError,
    KdaifError,
    NotFoundError,
    TrainingError,
    UnavailableError,
)
from kdaif.processes import die_with_parent, give_up_rights
from kdaif.records import Failure
from kdaif.telemetry import configure_tracing, flush_tracing, span
from kdaif_worker.messages import Assignment, FailedMessage, Message, encode


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    give_up_rights()
    assignment = Assignment.from_json(sys.stdin.buffer.read())
    with os.fdopen(arguments.messages_fd, "wb", buffering=0) as pipe:

        def emit(message: Message) -> None:
            pipe.write(encode(message))

        try:
            # Imported late: torch takes seconds, and dying with the parent must be arranged before.
            from kdaif_worker.pipeline import run

            configure_tracing("kdaif-child", assignment.otlp_endpoint)
            with span("train", assignment.trace, **{"kdaif.job": assignment.job_id}):
                last_word = run(assignment, emit)
            flush_tracing()
            emit(last_word)
        except Exception as error:
            traceback.print_exc()
            flush_tracing()
            emit(FailedMessage(failure_of(error)))


def failure_of(error: Exception) -> Failure:
    """The typed failure of an exception, and whether another attempt may do better."""
    message = str(error) or type(error).__name__
    if isinstance(error, TrainingError):
        return Failure(error.failure_reason, message, retryable=False)
    if isinstance(error, InvalidInputError | NotFoundError):
        return Failure(FailureReason.INVALID_DATA, message, retryable=False)
    if isinstance(error, DataCorruptedError):
        return Failure(FailureReason.STORAGE, message, retryable=False)
    if isinstance(error, UnavailableError | OSError):
        return Failure(FailureReason.STORAGE, message, retryable=True)
    # torch raises RuntimeErrors of its own for the device; torch.OutOfMemoryError is known by its name alone here.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in message
    ):
        advice = f"{message} Use a smaller batch_size, curvature_rows or student, or a worker with more memory."
        return Failure(FailureReason.OUT_OF_MEMORY, advice, retryable=False)
    known = isinstance(error, KdaifError)
    return Failure(FailureReason.INTERNAL, message if known else f"{type(error).__name__}: {message}", retryable=False)


if __name__ == "__main__":
    main()
