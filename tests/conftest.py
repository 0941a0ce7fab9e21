"""Real servers for every room. Nothing is replaced by a double."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """As programs have them: without these lines of each call that structlog would write by default."""
    from kdaif.telemetry import LogFormat, configure_logs

    configure_logs(LogFormat.CONSOLE)


@pytest.fixture(scope="session")
def redis_server_binary() -> Path:
    """The distribution's Redis, the second server that the queue is held to."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed; 'apt-get install redis-server' brings it")
    return Path(found)


@pytest.fixture(scope="session")
def _valkey_session_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from kdaif_server.embedded.valkey import EmbeddedValkey

    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture
def valkey_url(_valkey_session_url: str) -> str:
    """URL of a running, durable and empty Valkey."""
    from redis import Redis

    with Redis.from_url(_valkey_session_url) as redis:
        redis.flushall()
    return _valkey_session_url


@pytest.fixture
def free_ports() -> tuple[int, int]:
    """Two ports of this machine that were free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
