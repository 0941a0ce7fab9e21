"""The dashboard beside the gRPC server, in one event loop."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx2
from kdaif_server.server import running_server
from kdaif_server.settings import ServerSettings


def test_a_live_page_does_not_hold_up_the_end(valkey_url: str, tmp_path: Path) -> None:
    settings = ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path, dashboard="127.0.0.1:0", drain_s=30.0)

    async def run() -> float:
        async with httpx2.AsyncClient(timeout=20) as http:
            async with running_server(settings) as server:
                assert server.dashboard_url is not None
                request = http.build_request("GET", f"{server.dashboard_url}tenants/default/events")
                live = await http.send(request, stream=True)
                first = await anext(live.aiter_lines())
                assert first.startswith("retry:")
                leaving = time.monotonic()
            await live.aclose()
        return time.monotonic() - leaving

    assert asyncio.run(run()) < 15


def test_there_is_none_unless_asked_for(valkey_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with running_server(ServerSettings(port=0, redis_url=valkey_url, data_dir=tmp_path)) as server:
            assert server.dashboard_url is None

    asyncio.run(run())
