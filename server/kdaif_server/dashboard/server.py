"""The dashboard's HTTP server, within the event loop of the gRPC server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from kdaif_server.access.authentication import Authentication
from kdaif_server.backend import Backend
from kdaif_server.dashboard.app import make_app

_MOST_CONNECTIONS = 256


class _Server(uvicorn.Server):
    """Leaves signals to the process that it is a part of, and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serves.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def running_dashboard(
    backend: Backend, bound: socket.socket, authentication: Authentication | None = None, *, drain_s: float
) -> AsyncIterator[str]:
    """Serves on a bound socket; yields the URL. On leaving, answers under way end within ``drain_s`` seconds."""
    config = uvicorn.Config(
        make_app(backend, authentication),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        begun = asyncio.create_task(server.serves.wait())
        await asyncio.wait({begun, serving}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        if serving.done():
            await serving
        host, port = bound.getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    finally:
        server.should_exit = True
        await serving
        bound.close()
