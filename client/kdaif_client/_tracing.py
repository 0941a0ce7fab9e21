"""Spans of the program's own traces around each call, and their context sent along.

Only where the program has set up OpenTelemetry before it made its `Client`; otherwise the channel stays as it is.
"""

from __future__ import annotations

from typing import Any

import grpc


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


class _Details(grpc.ClientCallDetails):
    """The call with other metadata."""

    def __init__(self, details: Any, metadata: list[tuple[str, str]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = tuple(metadata)
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression
