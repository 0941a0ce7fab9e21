"""Spans of the program's own traces around each call, and their context sent along.

Only where the program has set up OpenTelemetry before it made its `Client`; otherwise the channel stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio


def traced(channel: grpc.Channel) -> grpc.Channel:
    """The channel itself, or one whose calls are spans."""
    try:
        from opentelemetry import trace
    except ImportError:
        return channel
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return channel
    return grpc.intercept_channel(channel, _Tracing(trace.get_tracer("kdaif_client")))


class _Tracing(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """A span from the call to its end, named as the server names its own."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._call(continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._call(continuation, details, request)

    def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return self._call(continuation, details, requests)

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        from opentelemetry import propagate, trace

        span = self._tracer.start_span(details.method.lstrip("/"), kind=trace.SpanKind.CLIENT)
        sent: dict[str, str] = {}
        propagate.inject(sent, trace.set_span_in_context(span))
        metadata = [*(details.metadata or ()), *sent.items()]
        call = continuation(_Details(details, metadata), request)
        call.add_done_callback(lambda _: self._end(span, call))
        return call

    @staticmethod
    def _end(span: Any, call: Any) -> None:
        from opentelemetry.trace import Status, StatusCode

        code = call.code()
        span.set_attributes({"rpc.system": "grpc", "rpc.grpc.status_code": code.name})
        if code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR, code.name))
        span.end()


def interceptors() -> list[grpc.aio.ClientInterceptor]:
    """The same for a channel of ``grpc.aio``: none, or what makes its calls spans."""
    try:
        from opentelemetry import trace
    except ImportError:
        return []
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return []
    tracer = trace.get_tracer("kdaif_client")
    return [_AsyncUnary(tracer), _AsyncReceiving(tracer), _AsyncSending(tracer)]


class _AsyncTracing:
    """What the three kinds of calls have in common; grpc.aio takes one interceptor for each."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    async def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        from opentelemetry import propagate, trace

        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        span = self._tracer.start_span(method.lstrip("/"), kind=trace.SpanKind.CLIENT)
        sent: dict[str, str] = {}
        propagate.inject(sent, trace.set_span_in_context(span))
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *sent.items())
        call = await continuation(details._replace(metadata=metadata), request)
        call.add_done_callback(lambda done: asyncio.ensure_future(_end_async(span, done)))
        return call


async def _end_async(span: Any, call: Any) -> None:
    from opentelemetry.trace import Status, StatusCode

    code = await call.code()
    span.set_attributes({"rpc.system": "grpc", "rpc.grpc.status_code": code.name})
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()


class _AsyncUnary(_AsyncTracing, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class _AsyncReceiving(_AsyncTracing, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._call(continuation, client_call_details, request)


class _AsyncSending(_AsyncTracing, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)


class _Details(grpc.ClientCallDetails):
    """The call with other metadata."""

    def __init__(self, details: Any, metadata: list[tuple[str, str]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = tuple(metadata)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression
