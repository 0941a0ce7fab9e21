"""The wire: channel options, a deadline on every call, retries, and statuses turned into errors."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kdaif_proto.v1 import datasets_pb2_grpc, jobs_pb2_grpc, students_pb2_grpc, weights_pb2_grpc

from kdaif_client import errors
from kdaif_client._credentials import NO_CREDENTIALS, Credentials
from kdaif_client.errors import FieldViolation, InvalidArgument, KdaifClientError

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_RECEIVE_LIMIT_BYTES = 16 * 1024 * 1024
_KEEPALIVE_MS = 30_000
_KEEPALIVE_ANSWER_MS = 10_000

# Calls that may be sent twice without harm. Left out: Retry, Resume, Reject and Delete, whose second answer differs
# from the first, and the streams, which go on from an offset or a sequence number instead of starting again.
_IDEMPOTENT = {
    "kdaif.v1.DatasetService": ("CreateDataset", "QueryWriteStatus", "GetDataset", "ListDatasets"),
    "kdaif.v1.DistillationJobService": (
        "CreateDistillationJob",  # by its request_id, which this client always sends
        "GetDistillationJob",
        "ListDistillationJobs",
        "CancelDistillationJob",
    ),
    "kdaif.v1.WeightService": (
        "ListSampleWeights",
        "BatchGetSampleWeights",
        "GetWeightHistory",
        "SummarizeWeights",
        "ListOverrideRevisions",
    ),
    "kdaif.v1.StudentService": (
        "GetStudent",
        "ListStudents",
        "GetAliases",
        "ListLines",
        "ListAliasRevisions",
        "ResolveAlias",
        "ReportOutcomes",  # by its request_id, which this client always sends
        "GetRollout",
    ),
}

_ERRORS: dict[grpc.StatusCode, type[KdaifClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}

# A stream that ended with one of these was cut, not refused: a restarting server, a lost network, a proxy's time limit.
_CUT = frozenset({"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED"})


class Rpc:
    """One channel and its four stubs. Safe to use from several threads, as gRPC channels are."""

    def __init__(
        self,
        target: str,
        timeout_s: float,
        *,
        keepalive_ms: int = _KEEPALIVE_MS,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self._metadata = credentials.metadata()
        self._channel = credentials.channel(target, _channel_options(keepalive_ms))
        self.datasets = datasets_pb2_grpc.DatasetServiceStub(self._channel)
        self.jobs = jobs_pb2_grpc.DistillationJobServiceStub(self._channel)
        self.weights = weights_pb2_grpc.WeightServiceStub(self._channel)
        self.students = students_pb2_grpc.StudentServiceStub(self._channel)

    def close(self) -> None:
        """Ends every call and the connection."""
        self._channel.close()

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        """One request, one response; raises from the tree of ``errors``.

        A call that came too soon for the tenant's rate was not begun: it is sent again when the server says, unless
        that is after the deadline.
        """
        timeout_s = timeout_s or self.timeout_s
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return method(request, timeout=max(0.0, deadline_s - time.monotonic()), metadata=self._metadata)
            except grpc.RpcError as error:
                told = self.error_of(error)
            wait_s = _wait_of(told)
            if wait_s is None or time.monotonic() + wait_s >= deadline_s:
                raise told
            time.sleep(wait_s)

    def send(
        self,
        method: grpc.StreamUnaryMultiCallable[Request, Response],
        requests: Iterable[Request],
        *,
        timeout_s: float,
    ) -> Response:
        """A stream of requests, one response."""
        try:
            return method(iter(requests), timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self.error_of(error) from None

    @contextmanager
    def receive(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float,
    ) -> Iterator[Iterator[Response]]:
        """One request, a stream of responses; leaving the block ends the call."""
        call: Any = method(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield self._responses(call)
        finally:
            call.cancel()

    def _responses(self, call: Any) -> Iterator[Any]:
        try:
            yield from call
        except grpc.RpcError as error:
            raise self.error_of(error) from None

    def error_of(self, error: grpc.RpcError) -> KdaifClientError:
        """The error of this SDK for a failed call, with what the server said in google.rpc.Status."""
        call: Any = error
        code: grpc.StatusCode = call.code()
        message: str = call.details() or ""
        reason, violations, retry_after_s = _details_of(call)
        if not reason:
            # Only a kdaif server sends an ErrorInfo; without one, gRPC itself or something between us is speaking.
            message = self._explain(code, message)
        kind = _ERRORS.get(code, errors.ServerError)
        if issubclass(kind, InvalidArgument):
            return kind(message, violations, code=code.name, reason=reason)
        if issubclass(kind, errors.ResourceExhausted):
            return kind(message, code=code.name, reason=reason, retry_after_s=retry_after_s)
        return kind(message, code=code.name, reason=reason)

    def _explain(self, code: grpc.StatusCode, details: str) -> str:
        if code is grpc.StatusCode.UNAVAILABLE:
            return (
                f"No kdaif server answers at {self.target} ({_short(details)}). "
                "Start one with `kdaif up`, or give the address of a running one."
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return (
                f"{self.target} gave no answer in time. If the server is busy or far away, "
                f"give the client more time: Client({self.target!r}, timeout_s=...)."
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return f"{self.target} does not know this call ({details}). Is it a kdaif server as new as this client?"
        return f"{self.target} answered {code.name}: {details or 'no details given'}"


class Patience:
    """How long to go on trying: a budget of seconds of failing without progress, with growing, jittered pauses."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self.progress()

    def progress(self) -> None:
        """Something worked: the budget and the pauses start afresh at the next failure."""
        self._failing_since: float | None = None
        self._tries = 0

    def pause(self, error: KdaifClientError, most_s: float = float("inf")) -> None:
        """Sleeps a little, at most ``most_s``, or raises ``error`` when the budget is spent."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._budget_s:
            raise error
        if (asked_s := _wait_of(error)) is not None:
            time.sleep(min(asked_s, most_s))
            return
        ceiling_s = min(10.0, 0.2 * 2**self._tries, most_s)
        self._tries += 1
        # Jitter, so that the clients of a restarted server do not come back all at once. No secret is made here.
        time.sleep(random.uniform(ceiling_s / 2, ceiling_s))  # noqa: S311


def was_cut(error: KdaifClientError) -> bool:
    """True when a stream broke off and may go on; False when the server refused it."""
    if error.code in _CUT or _wait_of(error) is not None:
        return True
    # A proxy or a dying server resets the stream below HTTP semantics; gRPC reports it so, and no server of ours does.
    return not error.reason and error.code in ("INTERNAL", "UNKNOWN") and "RST_STREAM" in str(error)


def _wait_of(error: KdaifClientError) -> float | None:
    """Seconds to wait where the server said that the same call fits later, with jitter; None where it did not."""
    asked_s = error.retry_after_s if isinstance(error, errors.ResourceExhausted) else None
    return None if asked_s is None else asked_s * random.uniform(1.0, 1.2) + 0.005  # noqa: S311


def _channel_options(keepalive_ms: int) -> list[tuple[str, Any]]:
    retry_policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    names = [{"service": service, "method": method} for service, methods in _IDEMPOTENT.items() for method in methods]
    return [
        ("grpc.max_receive_message_length", _RECEIVE_LIMIT_BYTES),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps({"methodConfig": [{"name": names, "retryPolicy": retry_policy}]})),
        # A watch is silent while a round trains. Pings find a dead peer; the server must allow them by
        # grpc.http2.min_ping_interval_without_data_ms, and no data need flow between two of them.
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        # After a server restart the next attempt should not wait for gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]


def _details_of(call: Any) -> tuple[str, list[FieldViolation], float | None]:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, AttributeError):
        return "", [], None  # a status of another code than the call's, or none at all: not one of ours
    reason, violations, retry_after_s = "", [], None
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            reason = info.reason
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
            violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return reason, violations, retry_after_s


def _short(details: str) -> str:
    """The last part of gRPC's chain of reasons, which is the one a person can use."""
    if "Connection refused" in details:
        return "connection refused"
    if "handshake" in details.lower() or "CERTIFICATE" in details:
        return (
            "the TLS handshake failed: does it speak TLS, is root_certificates the authority behind its certificate, "
            "does it want a certificate of ours?"
        )
    if any(word in details for word in ("DNS", "resolution", "Domain name")):
        return "the host name does not resolve"
    return details.rsplit(": ", 1)[-1] or "no connection"
