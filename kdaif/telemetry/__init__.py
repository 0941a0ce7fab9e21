"""How a program is seen from outside: its log lines, its traces, its metrics. Nothing here knows of jobs."""

from kdaif.telemetry.disk import disk_free_bytes
from kdaif.telemetry.endpoint import metrics_endpoint, parse_address
from kdaif.telemetry.logs import LogFormat, LogLevel, configure_logs
from kdaif.telemetry.tracing import (
    Carrier,
    carried,
    configure_tracing,
    flush_tracing,
    is_traced,
    sends_traces,
    span,
    start_span,
    under,
)

__all__ = [
    "Carrier",
    "LogFormat",
    "LogLevel",
    "carried",
    "configure_logs",
    "configure_tracing",
    "disk_free_bytes",
    "flush_tracing",
    "is_traced",
    "metrics_endpoint",
    "parse_address",
    "sends_traces",
    "span",
    "start_span",
    "under",
]
