"""What passes between the supervisor and its training child: one job in, JSON lines out.

The child writes to a pipe of its own, so that whatever a library prints cannot be taken for a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from kdaif.records import DistillationSpec, Failure, JobResult, Progress, Shard
from kdaif.store import References

ShardStudents = Literal["auto", "always", "never"]
"""Whether the processes that share a job hold a part of the student each: where it is large for their devices."""


@dataclass(frozen=True)
class Assignment:
    """All that the child needs. ``call`` is the request id by which the job was submitted, for its log.

    With a ``shard`` it scores that and nothing else, for the job that the shard names.
    """

    tenant: str
    job_id: str
    attempt: int
    display_name: str
    spec: DistillationSpec
    blob_url: str
    cache_dir: Path
    threads: int | None
    references: References = field(default_factory=References)
    trace: dict[str, str] = field(default_factory=dict)
    otlp_endpoint: str = ""
    call: str = ""
    shard: Shard | None = None
    shard_students: ShardStudents = "auto"

    def to_json(self) -> bytes:
        """One line."""
        return _ASSIGNMENT.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Assignment:
        """The inverse of ``to_json``."""
        return _ASSIGNMENT.validate_json(data)


@dataclass(frozen=True)
class ProgressMessage:
    """The attempt is this far; a finished round brings its metrics. A warning is told in the progress's message."""

    progress: Progress
    metrics: dict[str, float] = field(default_factory=dict)
    warning: bool = False
    type: Literal["progress"] = "progress"


@dataclass(frozen=True)
class SucceededMessage:
    """Everything that the manifest names is durable."""

    result: JobResult
    type: Literal["succeeded"] = "succeeded"


@dataclass(frozen=True)
class FailedMessage:
    """The attempt cannot go on."""

    failure: Failure
    type: Literal["failed"] = "failed"


@dataclass(frozen=True)
class ReviewMessage:
    """A person has to look before the job may go on; its checkpoints stay."""

    why: str
    type: Literal["review"] = "review"


@dataclass(frozen=True)
class GivenBackMessage:
    """The attempt ends for a reason that is not the job's, which waits for another."""

    why: str
    type: Literal["given_back"] = "given_back"


@dataclass(frozen=True)
class ShardsMessage:
    """A scoring is cut; these are to be scored. The child waits for an answer: what of them it is to score itself."""

    shards: tuple[Shard, ...]
    type: Literal["shards"] = "shards"


@dataclass(frozen=True)
class ShardDoneMessage:
    """The child has scored this one of its job's own shards, and waits for the next."""

    shard: Shard
    type: Literal["shard_done"] = "shard_done"


@dataclass(frozen=True)
class ShardScoredMessage:
    """The last word of a child that scored a shard for another job: its scores are durable."""

    type: Literal["shard_scored"] = "shard_scored"


Message = (
    ProgressMessage
    | SucceededMessage
    | FailedMessage
    | ReviewMessage
    | GivenBackMessage
    | ShardsMessage
    | ShardDoneMessage
    | ShardScoredMessage
)

_ASSIGNMENT = TypeAdapter(Assignment)
_ANSWER: TypeAdapter[Shard | None] = TypeAdapter(Shard | None)
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """One JSON line."""
    return _MESSAGE.dump_json(message) + b"\n"


def decode(line: bytes) -> Message:
    """The inverse of ``encode``. Raises pydantic.ValidationError."""
    return _MESSAGE.validate_json(line)


def encode_answer(shard: Shard | None) -> bytes:
    """What the supervisor tells a child that waits for its next shard: one JSON line."""
    return _ANSWER.dump_json(shard) + b"\n"


def decode_answer(line: bytes) -> Shard | None:
    """The inverse of ``encode_answer``. Raises pydantic.ValidationError."""
    return _ANSWER.validate_json(line)
