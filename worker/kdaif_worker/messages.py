"""What passes between the supervisor and its training child: one job in, JSON lines out.

The child writes to a pipe of its own, so that whatever a library prints cannot be taken for a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from kdaif.records import DistillationSpec, Failure, JobResult, Progress
from kdaif.store import References

ShardStudents = Literal["auto", "always", "never"]
"""Whether the processes that share a job hold a part of the student each: where it is large for their devices."""


@dataclass(frozen=True)
class Assignment:
    """All that the child needs. ``call`` is the request id by which the job was submitted, for its log."""

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


Message = ProgressMessage | SucceededMessage | FailedMessage | ReviewMessage

_ASSIGNMENT = TypeAdapter(Assignment)
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """One JSON line."""
    return _MESSAGE.dump_json(message) + b"\n"


def decode(line: bytes) -> Message:
    """The inverse of ``encode``. Raises pydantic.ValidationError."""
    return _MESSAGE.validate_json(line)
