"""Around each call: a request id, a span, a log line and its seconds, whatever happens inside.

It stands outermost, so that what authentication refuses is seen too. A server runs each call in a task of its own, so
what is bound to the context ends with the call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import grpc
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from kdaif.telemetry import is_traced, sends_traces, start_span
from kdaif_server.handlers import Handler, Streaming, Unary, around, metadata
from kdaif_server.observability.metrics import ServerMetrics

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


class Observing:
    """Sees each call of kdaif's own services. A `Layer`, to stand outermost.

    Args:
        metrics: to keep.
    """

    def __init__(self, metrics: ServerMetrics) -> None:
        self.metrics = metrics
        # Both are set before a server is made; asking after them in each call would cost more than the call's line.
        self.sends_traces = sends_traces()
        self.tells_all = bool(_log.is_enabled_for(logging.DEBUG))

    def __call__(self, method: str, handler: Handler) -> Handler:
        """Health checks and reflection go by unseen."""
        if not method.startswith(_OURS):
            return handler
        name, is_stream = method.lstrip("/"), handler.request_streaming
        return around(
            handler,
            lambda unary: self._unary(name, unary, is_stream=is_stream),
            lambda streaming: self._streaming(name, streaming, is_stream=is_stream),
        )

    def _unary(self, method: str, behaviour: Unary, *, is_stream: bool) -> Unary:
        async def observed(request: Any, context: Any) -> Any:
            call = _Call(method, self)
            request = call.begin(request, is_stream=is_stream)
            try:
                response = await behaviour(request, context)
            except BaseException as error:
                call.end(_code(context, error))
                raise
            call.answered(response)
            call.end(_code(context))
            return response

        return observed

    def _streaming(self, method: str, behaviour: Streaming, *, is_stream: bool) -> Streaming:
        async def observed(request: Any, context: Any) -> AsyncIterator[Any]:
            call = _Call(method, self)
            request = call.begin(request, is_stream=is_stream)
            try:
                async for response in behaviour(request, context):
                    yield response
            except BaseException as error:
                call.end(_code(context, error))
                raise
            call.end(_code(context))

        return observed


class _Call:
    """One call from its first message to its status."""

    def __init__(self, method: str, observing: Observing) -> None:
        self._method = method
        self._name = method.rpartition("/")[2]
        self._observing = observing
        self._fields: dict[str, str] = {}
        self._span: Span = trace.INVALID_SPAN

    def begin(self, request: Any, *, is_stream: bool) -> Any:
        """The request, or the stream of them, to go on with."""
        self._started = time.perf_counter()
        sent = metadata()
        wished = sent.get("x-request-id", "")
        found = wished if _SANE_ID.fullmatch(wished) else os.urandom(16).hex()
        _REQUEST_ID.set(found)
        if not is_stream:
            self._fields = _resources(request)
        # What was bound outside of the calls is not the calls'.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=found, **self._fields)
        if self._observing.sends_traces or is_traced(sent):
            self._span = start_span(self._method, sent, kind=SpanKind.SERVER)
            if self._span.is_recording():
                self._span.set_attributes({"rpc.system": "grpc", "rpc.method": self._name, "kdaif.request_id": found})
            otel_context.attach(trace.set_span_in_context(self._span))
        return self._counted(request) if is_stream else request

    async def _counted(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of an upload."""
        async for request in requests:
            if not self._fields:
                self._name_resources(request)
            if data := getattr(request, "data", b""):
                self._observing.metrics.upload_bytes.inc(len(data))
            yield request

    def answered(self, response: Any) -> None:
        """A job that was just made has its name from the answer."""
        if "job" not in self._fields:
            self._name_resources(getattr(response, "job", None))

    def _name_resources(self, message: Any) -> None:
        if found := _resources(message):
            self._fields = found
            structlog.contextvars.bind_contextvars(**found)

    def end(self, code: str) -> None:
        """The call has this status."""
        seconds = time.perf_counter() - self._started
        self._observing.metrics.seconds_of(self._name, code).observe(seconds)
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
        elif self._observing.tells_all:
            write = _log.debug
        else:
            return
        write("call", method=self._name, code=code, seconds=round(seconds, 4))


def _resources(message: Any) -> dict[str, str]:
    """The tenant and the job that a message names, for every line that is logged from there on."""
    name = getattr(message, "name", "") or getattr(message, "parent", "")
    if not isinstance(name, str) or (match := _RESOURCE.match(name)) is None:
        return {}
    return {"tenant": match[1]} | ({"job": match[2]} if match[2] else {})


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
