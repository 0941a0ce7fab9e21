"""The page that Prometheus reads, on a port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, start_http_server

from kdaif.errors import InvalidInputError, UnavailableError


@asynccontextmanager
async def metrics_endpoint(address: str, registry: CollectorRegistry) -> AsyncIterator[str | None]:
    """Serves ``registry`` during the block, in a thread of its own; yields the page's URL, None where there is none.

    Args:
        address: HOST:PORT; ``:9464`` is that port on every address of this machine, port 0 a free one, and an empty
            text no page at all.
        registry: whose metrics the page shows.

    Raises:
        InvalidInputError: the address is none.
        UnavailableError: the port is taken.
    """
    if not address:
        yield None
        return
    host, port = parse_address(address, "metrics")
    try:
        server, thread = start_http_server(port, addr=host or "0.0.0.0", registry=registry)  # noqa: S104 - asked for
    except OSError as error:
        raise UnavailableError(f"metrics: cannot listen on {address} ({error}). Choose another port.") from error
    try:
        yield f"http://{host or '127.0.0.1'}:{server.server_port}/metrics"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


def parse_address(address: str, setting: str) -> tuple[str, int]:
    """Host, which may be empty, and port. Raises InvalidInputError, which names the setting."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise InvalidInputError.of(setting, f"is {address!r}; write HOST:PORT, or :PORT for every address")
    return host.strip("[]"), int(port)
