"""The page about the load test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROWS = (
    ("unary calls a second", "unary_per_s", ",.0f"),
    ("wanted: 2,000, or three quarters of raw `grpc.aio` alone", "wanted_per_s", ",.0f"),
    ("raw `grpc.aio` alone", "raw_unary_per_s", ",.0f"),
    ("raw `grpc.aio` beside the same watches and uploads", "raw_beside_unary_per_s", ",.0f"),
    ("kdaif's share of that", "share_of_raw_beside", ".2f"),
    ("latency, median, ms", "p50_ms", ".1f"),
    ("latency, p99, ms", "p99_ms", ".1f"),
    ("CPU time of the server for a call, its watches and uploads included, us", "server_cpu_us_per_call", ",.0f"),
    ("CPU time of the raw server for a call, alone, us", "raw_server_cpu_us_per_call", ",.0f"),
    ("calls that failed", "failed_calls", ",.0f"),
    ("calls, uploads and watches that failed in the drain", "drain_failed_calls", ",.0f"),
    ("seconds from SIGTERM to the end of the server", "drain_s", ".1f"),
    ("uploads of 4 MiB", "uploads", ",.0f"),
    ("events that the watches saw", "events_watched", ",.0f"),
    ("memory of the server, MB", "rss_mb", ",.0f"),
    ("its growth in that time, MB", "rss_growth_mb", "+.1f"),
    ("of which in the second half of it, MB", "rss_growth_second_half_mb", "+.1f"),
)
_PAGE = """# Load: one server, many clients

Written by `make bench-load` from `benchmarks/results/load.json`. One
`kdaif-server serve --processes {processes:.0f}` with authentication, on a Valkey that fsyncs before it answers, had
{watchers:.0f} clients that watched a job each, {uploads:.0f} uploads, and {callers:.0f} callers that asked for jobs as
fast as they were answered, for {minutes:g} minutes; all of that on {cores} cores ({cpu}). The rate that was wanted was
{reached}.

| | |
| --- | ---: |
{table}

What the processors did meanwhile, 1 being one of them all the time:

| | processors |
| --- | ---: |
{cores_of}

Server, Valkey and all clients share the cores, so a client that costs more lowers every rate here; raw `grpc.aio` alone
has no watches, no uploads and no Valkey beside it. It runs as `grpc.aio` does by itself, kdaif's server on uvloop and
under SCHED_BATCH (ADR 37). At the end the server gets SIGTERM amid it all, drains, and is started again: the SDK
repeats what was cut, goes on with uploads where they stopped and with watches after the last event.
"""


def page(document: Mapping[str, Any]) -> str:
    """What `benchmarks.load` wrote, for people."""
    figures, machine = document["figures"], document["machine"]
    return _PAGE.format(
        **figures,
        cores=machine["cores"],
        cpu=machine["cpu"],
        reached="reached" if figures["unary_per_s"] >= figures["wanted_per_s"] else "missed",
        cores_of="\n".join(f"| {row['kind']} | {row['cores']:.2f} |" for row in document["table"]),
        table="\n".join(f"| {name} | {figures[key]:{form}} |" for name, key, form in _ROWS),
    )
