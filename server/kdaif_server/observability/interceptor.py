"""Around each call: a request id, a span, a log line and its seconds, whatever happens inside.

It stands outermost, so that what authentication refuses is seen too. A server runs each call in a task of its own, so
what is bound to the context ends with the call.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from kdaif.telemetry import start_span
from kdaif_server.observability.metrics import ServerMetrics

Handler = Any  # grpc.RpcMethodHandler, whose stubs hide its attributes

_REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_RESOURCE = re.compile(r"tenants/([a-z0-9][a-z0-9-]{0,62})(?:/distillationJobs/([a-z0-9]{1,64}))?")
_OURS = "/kdaif."
# Calls that change nothing, or that devices make by the thousand, are logged where they fail.
_QUIET = ("Get", "List", "BatchGet", "Query", "Read", "Stream", "Watch", "Summarize", "Resolve", "Report")
# Faults of the server, not of what was asked.
_FAULTS = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"})
_log = structlog.get_logger("kdaif.server")


def request_id() -> str:
    """Of the call at hand: what its client sent as ``x-request-id``, or one of ours; empty outside of a call."""
    return _REQUEST_ID.get()


class ObservingInterceptor(grpc.aio.ServerInterceptor):
    """Sees each call of kdaif's own services.

    Args:
        metrics: to keep.
    """

    def __init__(self, metrics: ServerMetrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wraps the handler of one call. Health checks and reflection go by unseen."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith(_OURS):
            return handler
        metadata = {
            key: value for key, value in handler_call_details.invocation_metadata or () if isinstance(value, str)
        }
        call = _Call(method, metadata, self._metrics)
        if handler.response_streaming:
            streaming = handler.stream_stream if handler.request_streaming else handler.unary_stream
            make: Any = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(call.streaming(streaming), handler.request_deserializer, handler.response_serializer)
        unary = handler.stream_unary if handler.request_streaming else handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(call.unary(unary), handler.request_deserializer, handler.response_serializer)


class _Call:
    """One call from its first message to its status."""

    def __init__(self, method: str, metadata: dict[str, str], metrics: ServerMetrics) -> None:
        self._method = method.lstrip("/")
        self._name = method.rpartition("/")[2]
        self._metadata = metadata
        self._metrics = metrics
        self._fields: dict[str, str] = {}

    def unary(self, behaviour: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        async def observed(request: Any, context: Any) -> Any:
            self._begin()
            try:
                response = await behaviour(self._seen(request), context)
            except BaseException as error:
                self._end(_code(context, error))
                raise
            self._name_resources(getattr(response, "job", None))
            self._end(_code(context))
            return response

        return observed

    def streaming(self, behaviour: Any) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def observed(request: Any, context: Any) -> AsyncIterator[Any]:
            self._begin()
            try:
                async for response in behaviour(self._seen(request), context):
                    yield response
            except BaseException as error:
                self._end(_code(context, error))
                raise
            self._end(_code(context))

        return observed

    def _begin(self) -> None:
        self._started = time.perf_counter()
        sent = self._metadata.get("x-request-id", "")
        found = sent if _SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        _REQUEST_ID.set(found)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=found)
        self._span = start_span(self._method, self._metadata, kind=SpanKind.SERVER)
        if self._span.is_recording():
            self._span.set_attributes({"rpc.system": "grpc", "rpc.method": self._name, "kdaif.request_id": found})
        otel_context.attach(trace.set_span_in_context(self._span))

    def _seen(self, request: Any) -> Any:
        if hasattr(request, "__aiter__"):
            return self._counted(request)
        self._name_resources(request)
        return request

    async def _counted(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of an upload."""
        async for request in requests:
            if not self._fields:
                self._name_resources(request)
            if data := getattr(request, "data", b""):
                self._metrics.upload_bytes.inc(len(data))
            yield request

    def _name_resources(self, message: Any) -> None:
        """The tenant and the job that a message names, for every line that is logged from here on."""
        name = getattr(message, "name", "") or getattr(message, "parent", "")
        if isinstance(name, str) and (match := _RESOURCE.match(name)):
            found = {"tenant": match[1]} | ({"job": match[2]} if match[2] else {})
            if found != self._fields:
                self._fields = found
                structlog.contextvars.bind_contextvars(**found)

    def _end(self, code: str) -> None:
        seconds = time.perf_counter() - self._started
        self._metrics.rpc_seconds.labels(self._name, code).observe(seconds)
        if self._span.is_recording():
            self._span.set_attributes(
                {"rpc.grpc.status_code": code} | {f"kdaif.{k}": v for k, v in self._fields.items()}
            )
            if code in _FAULTS:
                self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()
        if code in _FAULTS:
            write = _log.error
        elif code not in ("OK", "CANCELLED") or not self._name.startswith(_QUIET):
            write = _log.info
        else:
            write = _log.debug
        write("call", method=self._name, code=code, seconds=round(seconds, 4))


def _code(context: Any, error: BaseException | None = None) -> str:
    """The status by its name. What a service leaves to gRPC is UNKNOWN, and a client that went away CANCELLED."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    code = context.code()
    if code is None or code == 0:
        return "OK" if error is None else "UNKNOWN"
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((each.name for each in grpc.StatusCode if each.value[0] == code), "UNKNOWN")
