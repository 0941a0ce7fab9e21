"""Errors at the edge: every exception leaves as one google.rpc.Status with one ErrorInfo."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn
from urllib.parse import quote

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from kdaif import errors
from kdaif_server.handlers import Handler, Malformed, Streaming, Unary, around
from kdaif_server.observability import request_id

_DOMAIN = "kdaif"
_CODES: dict[type[errors.KdaifError], grpc.StatusCode] = {
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.QuotaExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DataCorruptedError: grpc.StatusCode.DATA_LOSS,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.FencedError: grpc.StatusCode.ABORTED,
}
# Clients refuse trailers from 8 KiB on.
_MOST_TRAILER_BYTES = 7_500
# Characters of the message, and violations that are told, from the gentlest cut on.
_CUTS = ((2_000, 20), (1_000, 10), (500, 5), (200, 2))
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_log = structlog.get_logger("kdaif.server")


def status_of(error: BaseException) -> status_pb2.Status:
    """The rich status of an exception. What is not a KdaifError says nothing of its inside."""
    if not isinstance(error, errors.KdaifError):
        return _status(grpc.StatusCode.INTERNAL, "Internal error; the server's log has the details.", "INTERNAL", [])
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    details: list[Any] = []
    if isinstance(error, errors.InvalidInputError) and error.violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in error.violations
                ]
            )
        )
    if isinstance(error, errors.QuotaExceededError):
        details += _of_quota(error)
    return _status(code, str(error), error.reason, details)


def _of_quota(error: errors.QuotaExceededError) -> list[Any]:
    violation = error_details_pb2.QuotaFailure.Violation(subject=error.subject, description=str(error))
    details: list[Any] = [error_details_pb2.QuotaFailure(violations=[violation])]
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def errors_as_statuses(method: str, handler: Handler) -> Handler:
    """A `Layer` that turns what a service raises into a status, and logs what nobody meant to raise."""
    is_stream = handler.request_streaming
    return around(
        handler,
        lambda unary: _guard_unary(method, unary, is_stream=is_stream),
        lambda streaming: _guard_stream(method, streaming, is_stream=is_stream),
    )


def _guard_unary(method: str, behaviour: Unary, *, is_stream: bool) -> Unary:
    whole = _whole_stream if is_stream else _checked

    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await behaviour(whole(request), context)
        except Exception as error:
            await _abort(method, error, context)

    return guarded


def _guard_stream(method: str, behaviour: Streaming, *, is_stream: bool) -> Streaming:
    whole = _whole_stream if is_stream else _checked

    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(whole(request), context):
                yield response
        except Exception as error:
            await _abort(method, error, context)

    return guarded


async def _whole_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


def _checked(request: Any) -> Any:
    """The request. Raises InvalidInputError for bytes that are no message."""
    if isinstance(request, Malformed):
        raise errors.InvalidInputError("The request is no message of this call. Was it made from another kdaif.v1?")
    return request


async def _abort(method: str, error: Exception, context: Any) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    status = status_of(error)
    if call := request_id():
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=call))
    if not isinstance(error, errors.KdaifError):
        _log.error("unexpected error", method=method, exc_info=error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    # grpc.aio has no abort_with_status; this trailer is where grpcio-status looks for the rich form.
    trailer = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, status.message, trailer)
    raise AssertionError("abort always raises")


def _status(code: grpc.StatusCode, message: str, reason: str, details: list[Any]) -> status_pb2.Status:
    """Cut until it fits: a caller that sent a long name gets no answer at all where its echo does not go through."""
    status = _packed(code, message, reason, details)
    for characters, violations in _CUTS:
        if _trailer_bytes(status) <= _MOST_TRAILER_BYTES:
            break
        status = _packed(
            code, _cut(message, characters), reason, [_shortened(d, characters, violations) for d in details]
        )
    return status


def _packed(code: grpc.StatusCode, message: str, reason: str, details: list[Any]) -> status_pb2.Status:
    packed = []
    for detail in [error_details_pb2.ErrorInfo(reason=reason, domain=_DOMAIN), *details]:
        any_message = AnyMessage()
        any_message.Pack(detail)
        packed.append(any_message)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def _shortened(detail: Any, characters: int, violations: int) -> Any:
    if not isinstance(detail, error_details_pb2.BadRequest):
        return detail
    each = characters // violations
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(violation.field, 100), description=_cut(violation.description, each)
            )
            for violation in detail.field_violations[:violations]
        ]
    )


def _cut(text: str, characters: int) -> str:
    """The beginning and the end, which says what to do."""
    if len(text) <= characters:
        return text
    half = (characters - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _trailer_bytes(status: status_pb2.Status) -> int:
    """As it goes over the wire: the message as text, and again in the rich form, which is base64."""
    in_base64 = 4 * len(status.SerializeToString()) // 3
    return len(quote(status.message, safe=_PLAIN)) + in_base64
