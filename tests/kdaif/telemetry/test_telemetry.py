"""Log lines, spans and the page of metrics, by themselves."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from kdaif.errors import InvalidInputError, UnavailableError
from kdaif.telemetry import (
    LogFormat,
    LogLevel,
    carried,
    configure_logs,
    configure_tracing,
    disk_free_bytes,
    metrics_endpoint,
    span,
)
from kdaif.telemetry.endpoint import parse_address


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    configure_logs(LogFormat.CONSOLE)  # as before


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_traceback_shows_no_values(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format)
    password = "hunter2-hunter2"  # noqa: F841 - that a frame holds it is the point
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        structlog.get_logger("x").error("unexpected", exc_info=error)
    written = capsys.readouterr().out
    assert "RuntimeError" in written
    assert "hunter2" not in written


def test_a_json_line_is_one_object_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogFormat.JSON, LogLevel.INFO, service="s")
    log = structlog.get_logger("x").bind(tenant="acme")
    log.info('two\nlines and "quotes"', path=Path("/x"), share=float("inf"))
    log.debug("nobody asked")
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["event"] == 'two\nlines and "quotes"'
    assert (told["tenant"], told["service"], told["level"], told["path"]) == ("acme", "s", "info", "/x")


def test_without_a_collector_there_is_no_trace_and_no_sdk() -> None:
    code = (
        "import sys; from kdaif.telemetry import *; configure_tracing('s', '')\n"
        "with span('work'): assert carried() == {}\n"
        "assert not any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_trace_passes_through_a_process_that_records_nothing() -> None:
    sent = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    with span("call", sent):
        assert carried()["traceparent"].split("-")[1] == "a" * 32
    with span("call", {"traceparent": "nonsense"}):
        assert carried() == {}


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="http://collector:4318"):
        configure_tracing("s", "collector:4317")


def test_the_page_is_there_during_the_block_and_a_taken_port_is_told() -> None:
    async def scenario() -> None:
        registry = CollectorRegistry()
        Counter("seen", "Seen.", registry=registry).inc(3)
        async with metrics_endpoint("127.0.0.1:0", registry) as url:
            assert url is not None
            text = await asyncio.to_thread(_read, url)
            assert "seen_total 3.0" in text
            address = url.removeprefix("http://").removesuffix("/metrics")
            with pytest.raises(UnavailableError, match="Choose another port"):
                async with metrics_endpoint(address, registry):
                    pass
        async with metrics_endpoint(address, registry):  # free again
            pass
        async with metrics_endpoint("", registry) as none:
            assert none is None

    asyncio.run(scenario())


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this test
        return str(answer.read().decode())


@pytest.mark.parametrize("address", ["9464", "host:", "host:99999", "host:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match=r"health: .*HOST:PORT"):
        parse_address(address, "health")


def test_addresses() -> None:
    assert parse_address(":9464", "metrics") == ("", 9464)
    assert parse_address("[::1]:0", "metrics") == ("::1", 0)


def test_room_is_told_of_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    assert disk_free_bytes(tmp_path / "a/b") == pytest.approx(disk_free_bytes(tmp_path), rel=0.1)
