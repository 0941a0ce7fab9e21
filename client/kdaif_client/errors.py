"""The one tree of exceptions of the SDK.

    KdaifClientError
    ├── InvalidArgument      what was sent is wrong; ``violations`` names each field
    ├── NotFound             no such data set, job, student or sample
    ├── AlreadyExists        the request id belongs to another request
    ├── FailedPrecondition   right request, wrong state, for example the weights of a running job
    ├── Unauthenticated      no or wrong credentials
    ├── PermissionDenied     right credentials, but not for this
    ├── ResourceExhausted    a quota or a size limit
    ├── Unavailable          no server answers, or it cannot work now; the call may be repeated
    ├── DeadlineExceeded     no answer in time
    ├── WaitTimeout          ``Job.wait(timeout_s=...)`` ran out; the job goes on
    ├── ServerError          the server failed in a way that it did not foresee
    ├── JobFailed            the job ended without a student; ``reason`` says why
    ├── CorruptDownload      bytes that do not match their hash
    └── MissingDependency    an optional package is not installed

Every message says what happened, where, and what to do about it. This module imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AlreadyExists",
    "CorruptDownload",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidArgument",
    "JobFailed",
    "KdaifClientError",
    "MissingDependency",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "ServerError",
    "Unauthenticated",
    "Unavailable",
    "WaitTimeout",
]


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field: its path, for example ``spec.training.temperature``, and what is wrong with it."""

    field: str
    description: str


class KdaifClientError(Exception):
    """Base of everything that the SDK raises on purpose.

    Attributes:
        code: name of the gRPC status, for example ``"NOT_FOUND"``; empty when the error was found on this side.
        reason: the server's stable reason for programs, for example ``"INVALID_INPUT"``; empty when it gave none.
        retry_after_s: seconds after which the server asks to be called again, for example where a rate limit was
            passed; None when it did not say. Calls wait so long by themselves while their deadline allows it.
        was_sent: False when the call certainly never reached a server.
    """

    retry_after_s: float | None = None
    was_sent: bool = True

    def __init__(self, message: str, *, code: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class InvalidArgument(KdaifClientError):
    """What was sent is wrong. Printing it lists every wrong field."""

    def __init__(
        self, message: str, violations: Sequence[FieldViolation] = (), *, code: str = "", reason: str = ""
    ) -> None:
        super().__init__(message, code=code, reason=reason)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """The common case of one wrong field."""
        return cls(f"{field} {description}", (FieldViolation(field, description),))

    def __str__(self) -> str:
        message = super().__str__()
        # A server may already list the fields in its message; then they are not said twice.
        untold = [v for v in self.violations if v.description not in message]
        return "\n".join([message, *(f"  {v.field}: {v.description}" for v in untold)])


class NotFound(KdaifClientError):
    """No such resource."""


class AlreadyExists(KdaifClientError):
    """The request id belongs to another request."""


class FailedPrecondition(KdaifClientError):
    """The request is right but the resource is in the wrong state for it."""


class Unauthenticated(KdaifClientError):
    """No or wrong credentials."""


class PermissionDenied(KdaifClientError):
    """The credentials do not allow this."""


class ResourceExhausted(KdaifClientError):
    """A quota, a rate or a size limit was passed; ``retry_after_s`` says when the same call fits, where it does."""


class Unavailable(KdaifClientError):
    """No server answers, or it cannot work now. The call may be repeated."""


class DeadlineExceeded(KdaifClientError):
    """No answer came in time."""


class WaitTimeout(KdaifClientError, TimeoutError):
    """``Job.wait`` gave up waiting. The job goes on."""


class ServerError(KdaifClientError):
    """The server failed in a way that it did not foresee; its log has the details."""


class JobFailed(KdaifClientError):
    """The job ended without a student.

    Attributes:
        job: resource name of the job.
        state: ``"FAILED"``, ``"DEAD"`` (out of attempts) or ``"CANCELLED"``.
        reason: why, for example ``"OUT_OF_MEMORY"``, ``"DEADLINE"`` or ``"INVALID_DATA"``.
        message: what the worker said.
    """

    def __init__(self, job: str, state: str, reason: str, message: str) -> None:
        told = f": {message}" if message else ""
        super().__init__(f"Job {job} ended {state} ({reason or 'no reason given'}){told}", reason=reason)
        self.job = job
        self.state = state
        self.message = message


class CorruptDownload(KdaifClientError):
    """Downloaded or stored bytes do not match their recorded size or SHA-256. Nothing of them was put in place."""


class MissingDependency(KdaifClientError):
    """An optional package is not installed; the message has the command that installs it."""
