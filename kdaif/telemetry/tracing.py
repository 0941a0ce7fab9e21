"""Traces: one from the client's call to the stages of the training child. They cost next to nothing while off.

Only the API of OpenTelemetry is needed to run. The SDK and the exporter come with ``kdaif[otel]`` and are imported by
``configure_tracing`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kdaif.errors import FailedPreconditionError, InvalidInputError

Carrier = Mapping[str, str]
"""What carries a trace from one process to the next: ``traceparent`` and ``tracestate``."""

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("kdaif")
_FLUSH_MS = 2_000


def configure_tracing(service: str, endpoint: str, **resource: str) -> None:
    """Sends the spans of this process to a collector; without an endpoint it does nothing.

    Args:
        service: name of the program, such as ``kdaif-server``.
        endpoint: of the collector's OTLP over HTTP, such as ``http://collector:4318``; empty: no traces.
        resource: further attributes of the process.

    Raises:
        InvalidInputError: the endpoint is no HTTP URL.
        FailedPreconditionError: the SDK is not installed.
    """
    if not endpoint:
        return
    if not endpoint.startswith(("http://", "https://")):
        raise InvalidInputError.of(
            "otlp_endpoint", f"is {endpoint!r}; write the collector's HTTP address, such as http://collector:4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise FailedPreconditionError(
            f"otlp_endpoint is set, but OpenTelemetry's SDK is not installed ({error}): pip install 'kdaif[otel]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service, **resource}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=2.0)
    # Half a second: a span shows soon, and a process that is killed loses little.
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)


def flush_tracing() -> None:
    """Sends what is left, within two seconds. Before a process ends."""
    provider: Any = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush(_FLUSH_MS)


def carried() -> dict[str, str]:
    """The present trace, for another process; empty where there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def under(carrier: Carrier) -> otel_context.Context:
    """The context that another process carried here."""
    return _PROPAGATOR.extract(dict(carrier))


def sends_traces() -> bool:
    """Whether this process was told where spans go."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def is_traced(carrier: Carrier) -> bool:
    """Whether there is a trace from elsewhere to go on with."""
    return "traceparent" in carrier


def start_span(
    name: str, carrier: Carrier | None = None, *, kind: SpanKind = SpanKind.INTERNAL, start_ns: int | None = None
) -> Span:
    """A span that the caller ends. Under ``carrier`` where given, else under the present span."""
    parent = None if carrier is None else under(carrier)
    return _TRACER.start_span(name, parent, kind=kind, start_time=start_ns)


@contextmanager
def span(name: str, carrier: Carrier | None = None, **attributes: str | int | float) -> Iterator[Span]:
    """The present span during the block. An exception marks it as failed and goes on."""
    opened = start_span(name, carrier)
    opened.set_attributes(attributes)
    with trace.use_span(opened, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield opened
        except Exception as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
