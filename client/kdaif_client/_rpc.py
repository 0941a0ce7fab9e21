"""The wire: channel options, a deadline on every call, retries, and statuses turned into errors."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kdaif_proto.v1 import audit_pb2_grpc, datasets_pb2_grpc, jobs_pb2_grpc, students_pb2_grpc, weights_pb2_grpc

from kdaif_client import errors
from kdaif_client._credentials import NO_CREDENTIALS, Credentials
from kdaif_client._tracing import traced
from kdaif_client.errors import FieldViolation, InvalidArgument, KdaifClientError

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_RECEIVE_LIMIT_BYTES = 16 * 1024 * 1024
KEEPALIVE_MS = 30_000
_KEEPALIVE_ANSWER_MS = 10_000
# A server that never answered may not be there at all, and a person waits for that news; one that did is coming back.
_STRANGER_S = 3.0
# Between two attempts of a plain call, for which somebody waits.
_LONGEST_PAUSE_S = 2.0

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
        "ExplainSamples",
    ),
    "kdaif.v1.AuditService": ("ListAuditEntries",),
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

_REPEATABLE = frozenset(method for methods in _IDEMPOTENT.values() for method in methods)
# gRPC's words where there was no connection to send a call on.
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Connection refused")

# A stream that ended with one of these was cut, not refused: a restarting server, a lost network, a proxy's time limit.
_CUT = frozenset({"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED"})


class Rpc:
    """One channel and its stubs. Safe to use from several threads, as gRPC channels are."""

    def __init__(
        self,
        target: str,
        timeout_s: float,
        *,
        away_s: float | None = None,
        keepalive_ms: int = KEEPALIVE_MS,
        shares_connection: bool = True,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self._away_s = timeout_s if away_s is None else away_s
        self._has_answered = False
        options = channel_options(keepalive_ms, shares_connection=shares_connection)
        self._credentials, self._metadata = credentials, credentials.metadata()
        self.public_key = credentials.public_key
        self._channel = traced(credentials.channel(target, options))
        self.datasets = datasets_pb2_grpc.DatasetServiceStub(self._channel)
        self.jobs = jobs_pb2_grpc.DistillationJobServiceStub(self._channel)
        self.weights = weights_pb2_grpc.WeightServiceStub(self._channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self.students = students_pb2_grpc.StudentServiceStub(self._channel)

    def beside(self) -> Rpc:
        """The same server by a TCP connection of its own. To be closed."""
        return Rpc(
            self.target,
            self.timeout_s,
            away_s=self._away_s,
            shares_connection=False,
            credentials=self._credentials,
        )

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
        """One request, one response; repeated where that does no harm. Raises from the tree of ``errors``."""
        attempts = Attempts(request, timeout_s or self.timeout_s, self._away_s)
        while True:
            try:
                answer = method(request, timeout=attempts.left_s(), metadata=self._metadata)
            except grpc.RpcError as failed:
                error = error_of(self.target, failed)
                self._has_answered = self._has_answered or bool(error.reason)
                time.sleep(attempts.pause_s(error, is_known=self._has_answered))
            else:
                self._has_answered = True
                return answer

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
            raise error_of(self.target, error) from None

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
            raise error_of(self.target, error) from None


def error_of(target: str, error: grpc.RpcError) -> KdaifClientError:
    """The error of this SDK for a failed call, with what the server said in google.rpc.Status."""
    call: Any = error
    code: grpc.StatusCode = call.code()
    message: str = call.details() or ""
    told = _details_of(call)
    was_sent = told.reason != "" or not any(words in message for words in _NEVER_SENT)
    if not told.reason:
        # Only a kdaif server sends an ErrorInfo; without one, gRPC itself or something between us is speaking.
        message = _explain(target, code, message)
    kind = _ERRORS.get(code, errors.ServerError)
    if issubclass(kind, InvalidArgument):
        made: KdaifClientError = kind(message, told.violations, code=code.name, reason=told.reason)
    else:
        made = kind(message, code=code.name, reason=told.reason)
    made.was_sent, made.retry_after_s = was_sent, told.retry_after_s
    return made


def _explain(target: str, code: grpc.StatusCode, details: str) -> str:
    if code is grpc.StatusCode.UNAVAILABLE:
        return (
            f"No kdaif server answers at {target} ({_short(details)}). "
            "Start one with `kdaif up`, or give the address of a running one, "
            "with --tls or --root-certificates (tls=, root_certificates=) if it speaks TLS."
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return (
            f"{target} gave no answer in time. If the server is busy or far away, "
            f"give the client more time: Client({target!r}, timeout_s=...)."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{target} does not know this call ({details}). Is it a kdaif server as new as this client?"
    return f"{target} answered {code.name}: {details or 'no details given'}"


class Attempts:
    """When one call is sent again: never past its deadline, and only where a second sending does no harm.

    That is so for the methods in ``_IDEMPOTENT``, for a call that never left this machine, and where the server says
    that it refused a call and when to come back. Pauses grow, with jitter.

    Args:
        request: whose type names the method.
        deadline_s: of the call, with all its attempts.
        away_s: how long a server that has answered before may be away.
    """

    def __init__(self, request: Message, deadline_s: float, away_s: float) -> None:
        self._method = request.DESCRIPTOR.name.removesuffix("Request")
        self._ends_at = time.monotonic() + deadline_s
        self._away_s = away_s
        self._patience: Patience | None = None

    def left_s(self) -> float:
        """Seconds until the deadline; what a deadline that has passed leaves is small, not nothing."""
        return max(0.001, self._ends_at - time.monotonic())

    def pause_s(self, error: KdaifClientError, *, is_known: bool) -> float:
        """Seconds to wait before the next attempt; raises ``error`` when there is to be none."""
        left_s = self._ends_at - time.monotonic()
        if error.retry_after_s is not None:
            if error.retry_after_s >= left_s:
                raise error
            return error.retry_after_s * random.uniform(1.0, 1.2) + 0.005  # noqa: S311
        is_passing = error.code != "DEADLINE_EXCEEDED" and was_cut(error)
        if not is_passing or (error.was_sent and self._method not in _REPEATABLE):
            raise error
        if self._patience is None:
            self._patience = Patience(self._away_s if is_known else min(self._away_s, _STRANGER_S))
        if left_s <= 0:
            raise error
        return self._patience.pause_s(error, min(left_s, _LONGEST_PAUSE_S))


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
        time.sleep(self.pause_s(error, most_s))

    def pause_s(self, error: KdaifClientError, most_s: float = float("inf")) -> float:
        """How long to sleep, at most ``most_s``. Raises ``error`` when the budget is spent."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._budget_s:
            raise error
        if error.retry_after_s is not None:
            return min(error.retry_after_s * random.uniform(1.0, 1.2) + 0.005, most_s)  # noqa: S311
        ceiling_s = min(10.0, 0.2 * 2**self._tries, most_s)
        self._tries += 1
        # Jitter, so that the clients of a restarted server do not come back all at once. No secret is made here.
        return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311


def was_cut(error: KdaifClientError) -> bool:
    """True when a stream broke off and may go on; False when the server refused it."""
    if error.code in _CUT or error.retry_after_s is not None:
        return True
    # A proxy or a dying server resets the stream below HTTP semantics; gRPC reports it so, and no server of ours does.
    return not error.reason and error.code in ("INTERNAL", "UNKNOWN") and "RST_STREAM" in str(error)


def channel_options(keepalive_ms: int, *, shares_connection: bool = True) -> list[tuple[str, Any]]:
    return [
        # Channels with like options share one TCP connection of the process, unless they are told not to.
        ("grpc.use_local_subchannel_pool", int(not shares_connection)),
        ("grpc.max_receive_message_length", _RECEIVE_LIMIT_BYTES),
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


@dataclass(frozen=True)
class _Told:
    """What the details of a google.rpc.Status say."""

    reason: str = ""
    violations: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None


def _details_of(call: Any) -> _Told:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, AttributeError):
        return _Told()  # a status of another code than the call's, or none at all: not one of ours
    told = _Told()
    for detail in status.details if status is not None else ():
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            told = replace(told, reason=info.reason)
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
            found = (FieldViolation(v.field, v.description) for v in bad.field_violations)
            told = replace(told, violations=(*told.violations, *found))
        elif detail.Is(retry.DESCRIPTOR):
            detail.Unpack(retry)
            told = replace(told, retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9)
    return told


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
