"""Log lines: for people on a terminal, or one JSON object a line for a log store."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any

import structlog
from opentelemetry import trace


class LogFormat(StrEnum):
    """How a line looks."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logs(log_format: LogFormat, level: LogLevel = LogLevel.INFO, **always: str) -> None:
    """For this process, to standard output.

    Args:
        log_format: CONSOLE or JSON.
        level: lines below it are not written, and cost nothing.
        always: fields of every JSON line, such as ``service``.
    """
    # Tracebacks without the values of variables, which would put keys and people's data into a log.
    plain = structlog.dev.plain_traceback
    last: list[Any] = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]
    if log_format is LogFormat.JSON:

        def with_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
            return {**always, **event}

        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        last = [
            with_fields,
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(default=str),
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_trace,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.value.upper())),
        # Looked up at each line: a test, or a supervisor, may have put another stream in its place.
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The trace that a line belongs to, so that one leads to the other."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
