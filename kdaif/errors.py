"""The one tree of exceptions.

    KdaifError
    ├── UnauthenticatedError     nobody knows who is calling
    ├── PermissionDeniedError    the caller is known, and may not do this
    ├── InvalidInputError        what the caller sent is wrong; carries field violations
    ├── NotFoundError            no such resource
    ├── AlreadyExistsError       the name or request id is taken by something else
    ├── FailedPreconditionError  right request, wrong state
    ├── QuotaExceededError       it would be more than the tenant may use
    ├── DataCorruptedError       stored bytes do not match their hash or size
    ├── UnavailableError         Redis or the blob store does not answer; try again
    ├── FencedError              this attempt no longer owns the job
    ├── LostPeerError            another process of the same job ended; the job can be tried again
    └── TrainingError            an attempt cannot go on
        ├── NonFiniteError       NaN or infinity in a loss, gradient or target
        ├── InvalidDataError     the data cannot be trained on
        └── OutOfMemoryError     the process or the device ran out of memory

Every message says what happened, where, and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class FailureReason(StrEnum):
    """Why an attempt ended without a student; the names equal those of the proto enum without its prefix."""

    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    INVALID_DATA = "INVALID_DATA"
    NON_FINITE = "NON_FINITE"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    CRASHED = "CRASHED"
    STORAGE = "STORAGE"
    INTERNAL = "INTERNAL"
    REVIEW = "REVIEW"


@dataclass(frozen=True)
class FieldViolation:
    """One wrong field: its path in the request, such as ``spec.training.temperature``, and what is wrong with it."""

    field: str
    description: str


class KdaifError(Exception):
    """Base of all errors that kdaif raises on purpose. ``reason`` is stable and meant for programs."""

    reason: ClassVar[str] = "INTERNAL"


class InvalidInputError(KdaifError):
    """What the caller sent is wrong. ``violations`` names each field."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, violations: tuple[FieldViolation, ...] = ()) -> None:
        super().__init__(message)
        self.violations = violations

    @classmethod
    def of(cls, field: str, description: str) -> InvalidInputError:
        """The common case of one wrong field."""
        return cls(f"{field}: {description}", (FieldViolation(field, description),))


class UnauthenticatedError(KdaifError):
    """No key or token, or none that holds. The message never repeats it."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(KdaifError):
    """The caller is known, and may not do this."""

    reason = "PERMISSION_DENIED"


class NotFoundError(KdaifError):
    """No resource of that name."""

    reason = "NOT_FOUND"


class AlreadyExistsError(KdaifError):
    """The name or the request id is taken by something else."""

    reason = "ALREADY_EXISTS"


class FailedPreconditionError(KdaifError):
    """The request is right but the resource is in the wrong state for it."""

    reason = "FAILED_PRECONDITION"


class QuotaExceededError(KdaifError):
    """The request is right but would use more than the tenant may.

    Attributes:
        subject: whose quota it is, such as ``tenants/acme``; empty where the message alone says it.
        retry_after_s: seconds after which the same request fits; None where waiting does not help.
    """

    reason = "QUOTA_EXCEEDED"

    def __init__(self, message: str, *, subject: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.subject = subject
        self.retry_after_s = retry_after_s


class DataCorruptedError(KdaifError):
    """Stored bytes do not match their recorded hash or size."""

    reason = "DATA_CORRUPTED"


class UnavailableError(KdaifError):
    """Redis or the blob store does not answer. The call may be repeated."""

    reason = "UNAVAILABLE"


class FencedError(KdaifError):
    """The attempt no longer owns its job: its lease ran out, or the job was cancelled. Nothing may be published."""

    reason = "FENCED"


class LostPeerError(KdaifError):
    """Another of the processes that share a job ended or does not answer. The next attempt starts all of them anew."""

    reason = "LOST_PEER"


class TrainingError(KdaifError):
    """An attempt cannot go on. ``failure_reason`` goes into the job's failure; none of these is worth a retry."""

    reason = "TRAINING_FAILED"
    failure_reason: ClassVar[FailureReason] = FailureReason.INTERNAL


class NonFiniteError(TrainingError):
    """NaN or infinity in a loss, a gradient or a soft target. The message names batch and rows."""

    reason = "NON_FINITE"
    failure_reason = FailureReason.NON_FINITE


class InvalidDataError(TrainingError):
    """The data cannot be trained on."""

    reason = "INVALID_DATA"
    failure_reason = FailureReason.INVALID_DATA


class OutOfMemoryError(TrainingError):
    """The process or the device ran out of memory."""

    reason = "OUT_OF_MEMORY"
    failure_reason = FailureReason.OUT_OF_MEMORY
