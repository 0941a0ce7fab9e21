"""The training child: ``python -m kdaif_worker.child``. Reads one assignment, writes messages, ends.

One that scores a shard for another job then waits for the next shard of that job, until the supervisor ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import IO, NoReturn

from kdaif.errors import (
    DataCorruptedError,
    FailureReason,
    InvalidInputError,
    KdaifError,
    LostPeerError,
    NotFoundError,
    TrainingError,
    UnavailableError,
)
from kdaif.processes import die_with_parent, end_now, give_up_rights
from kdaif.records import Failure, Shard
from kdaif.telemetry import configure_tracing, flush_tracing, span
from kdaif_worker.messages import (
    Assignment,
    FailedMessage,
    GivenBackMessage,
    Message,
    ShardDoneMessage,
    ShardsMessage,
    decode_answer,
    encode,
)

_MOST_TAIL = 8192


def main() -> NoReturn:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages-fd", type=int)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--assignment", type=Path, help="a file; default standard input")
    parser.add_argument("--host-rank", type=int, help="of a group")
    parser.add_argument("--hosts", type=int, default=1, help="of a group")
    parser.add_argument("--cache-dir", type=Path, help="of a host that follows, whose assignment the leader has")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    give_up_rights()
    in_group = arguments.host_rank is not None
    given = _given(arguments.assignment, in_group=in_group)
    with _pipe(arguments.messages_fd, arguments.parent if in_group else None) as pipe:
        speaking, peers = threading.Lock(), None

        def emit(message: Message) -> None:
            with speaking:
                pipe.write(encode(message))

        def end(word: FailedMessage | GivenBackMessage) -> NoReturn:
            """For whichever of several threads of a group's first process comes first."""
            speaking.acquire()
            pipe.write(encode(word))
            end_now(1)

        def ask(message: ShardsMessage | ShardDoneMessage) -> Shard | None:
            emit(message)
            if not (answer := sys.stdin.buffer.readline()):
                raise UnavailableError("The supervisor did not say which shard is next.")
            return decode_answer(answer)

        try:
            # Imported late: torch takes seconds, and dying with the parent must be arranged before.
            from kdaif.collective import joined
            from kdaif_worker.peers import Peers
            from kdaif_worker.pipeline import run

            with contextlib.ExitStack() as stack:
                if in_group:
                    peers = Peers(arguments.host_rank, arguments.hosts, end)
                    stack.enter_context(peers.working())
                    given = stack.enter_context(joined()).told(given)
                assignment = Assignment.from_json(given)
                if arguments.cache_dir is not None:
                    assignment = replace(assignment, cache_dir=arguments.cache_dir)
                configure_tracing("kdaif-child", assignment.otlp_endpoint)
                following: Assignment | None = assignment
                while following is not None:
                    with span("train", following.trace, **{"kdaif.job": following.job_id}):
                        last_word = run(following, emit, None if in_group else ask)
                    flush_tracing()
                    if last_word is not None:
                        emit(last_word)
                    following = None if following.shard is None else _next_shard()
        except Exception as error:
            traceback.print_exc()
            flush_tracing()
            word = FailedMessage(_failure_here(error, arguments.host_rank or 0))
            if peers is not None:
                end(peers.last_word(word, is_effect=_is_of_peers(error)))
            emit(word)
            if in_group:
                end_now(1)  # so that torchrun ends the others
    end_now(0)


def _next_shard() -> Assignment | None:
    """Waits for another shard of the same job: it takes less time than to start a process does."""
    line = sys.stdin.buffer.readline()
    return Assignment.from_json(line) if line else None


def _given(assignment: Path | None, *, in_group: bool) -> bytes:
    """The assignment; nothing on a host that follows, which hears it of the first process."""
    if assignment is not None:
        return assignment.read_bytes()
    return b"" if in_group else sys.stdin.buffer.readline()


def _pipe(number: int | None, torchrun: int | None) -> IO[bytes]:
    """To the supervisor. Of a group the first process alone has it, through torchrun, which hands no file down."""
    if number is None:
        return Path(os.devnull).open("wb", buffering=0)  # of a host that follows
    if torchrun is None:
        return os.fdopen(number, "wb", buffering=0)
    path = f"/proc/{torchrun}/fd/{number}" if os.environ["LOCAL_RANK"] == "0" else os.devnull
    return Path(path).open("wb", buffering=0)


def failure_of(error: Exception) -> Failure:
    """The typed failure of an exception, and whether another attempt may do better."""
    message = str(error) or type(error).__name__
    if isinstance(error, TrainingError):
        return Failure(error.failure_reason, message, retryable=False)
    if _is_of_peers(error):
        return Failure(FailureReason.CRASHED, message, retryable=True)
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


def _failure_here(error: Exception, host_rank: int) -> Failure:
    """The `failure_of` an error, with what host 0 cannot know of it where this is another host."""
    failure = failure_of(error)
    if host_rank == 0:
        return failure
    if isinstance(error, NotFoundError):
        # Host 0 has found it there, or it would have said so itself.
        message = f"{failure.message} Does this host reach the blob store of host 0, under the same name?"
        failure = Failure(FailureReason.STORAGE, message, retryable=True)
    return replace(failure, log_tail=traceback.format_exc()[-_MOST_TAIL:])


def _is_of_peers(error: Exception) -> bool:
    """What a cut student's layers say to one another goes past `Collective`, and fails with errors of torch's own."""
    if isinstance(error, LostPeerError):
        return True
    return isinstance(error, RuntimeError) and (type(error).__name__.startswith("Dist") or "/gloo/" in str(error))


if __name__ == "__main__":
    main()
