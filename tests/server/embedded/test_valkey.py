"""The embedded server: its life, its directory, its address."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kdaif_server.embedded.valkey import EmbeddedValkey, wheel_binary
from redis import Redis
from redis.exceptions import RedisError

from kdaif.errors import FailedPreconditionError, UnavailableError


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue("redis_server_binary") if request.param == "redis" else wheel_binary()
    return found


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline, f"within 15 s not: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Also when only its remains wait for a parent that does not look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_it_is_durable_private_and_gone_after_the_block(tmp_path: Path, binary: Path) -> None:
    with EmbeddedValkey(tmp_path / "data", binary=binary) as valkey:
        with Redis.from_url(valkey.url, decode_responses=True) as redis:
            settings = redis.config_get("append*", "maxmemory-policy", "save", "dir")
            assert settings["appendonly"] == "yes"
            assert settings["appendfsync"] == "always"
            assert settings["maxmemory-policy"] == "noeviction"
            assert settings["save"] == ""
            assert settings["dir"] == str(tmp_path / "data")
            redis.set("kept", "yes")
        assert valkey.url.startswith("unix://")
        for name in ("valkey.sock", "valkey.conf", "lock"):
            assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) & 0o077 == 0, name
        pid = valkey.pid
    assert is_gone(pid)
    assert not (tmp_path / "data" / "valkey.pid").exists()
    with pytest.raises(FailedPreconditionError, match="not running"):
        _ = valkey.url
    with valkey, Redis.from_url(valkey.url, decode_responses=True) as redis:
        assert redis.get("kept") == "yes"


def test_a_long_path_gets_a_loopback_port_with_a_password(tmp_path: Path, binary: Path) -> None:
    with EmbeddedValkey(tmp_path / ("long-" * 20), binary=binary) as valkey:
        assert valkey.url.startswith("redis://:")
        with Redis.from_url(valkey.url) as redis:
            assert redis.ping()
            assert redis.config_get("bind")["bind"] == "127.0.0.1"
        stranger = Redis.from_url("redis://" + valkey.url.partition("@")[2])
        with stranger, pytest.raises(RedisError, match=r"(?i)authenticat"):
            stranger.ping()


def test_a_path_with_spaces_and_quotes(tmp_path: Path, binary: Path) -> None:
    with EmbeddedValkey(tmp_path / 'a "b" ü%20', binary=binary) as valkey, Redis.from_url(valkey.url) as redis:
        assert redis.ping()


def test_a_directory_belongs_to_one(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first:
        with pytest.raises(FailedPreconditionError, match="in use"):
            EmbeddedValkey(tmp_path).start()
        with pytest.raises(FailedPreconditionError, match="running already"):
            first.start()
        assert first.is_alive()
    with EmbeddedValkey(tmp_path) as second:
        assert second.is_alive()


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="no-such-directive"):
        EmbeddedValkey(tmp_path, directives={"no-such-directive": "1"}).start()
    assert time.monotonic() - started < 20
    with EmbeddedValkey(tmp_path) as valkey:
        assert valkey.is_alive()


PARENT = """
import sys, signal
from pathlib import Path
from kdaif_server.embedded.valkey import EmbeddedValkey
with EmbeddedValkey(Path(sys.argv[1]), binary=Path(sys.argv[2])) as valkey:
    print(valkey.pid, valkey.url, flush=True)
    signal.pause()
"""


def start_parent(data_dir: Path, binary: Path) -> tuple[subprocess.Popen[str], int, str]:
    command = [sys.executable, "-c", PARENT, str(data_dir), str(binary)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    return parent, int(pid), url


def end(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.wait()
    assert parent.stdout is not None
    parent.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the signal on a parent's death is a thing of Linux")
def test_it_dies_with_a_killed_parent(tmp_path: Path, binary: Path) -> None:
    parent, pid, _ = start_parent(tmp_path, binary)
    assert not is_gone(pid)
    end(parent)
    until(lambda: is_gone(pid), "the server is gone")


@pytest.mark.skipif(sys.platform != "linux", reason="the signal on a parent's death is a thing of Linux")
def test_a_server_left_behind_is_stopped_first(tmp_path: Path, binary: Path) -> None:
    parent, pid, url = start_parent(tmp_path, binary)
    with Redis.from_url(url) as redis:
        redis.set("kept", "yes")
    # Stopped, it cannot act on the death of its parent.
    os.kill(pid, signal.SIGSTOP)
    end(parent)
    assert not is_gone(pid)
    with EmbeddedValkey(tmp_path, binary=binary, stop_timeout_s=0.5) as valkey:
        assert is_gone(pid)
        with Redis.from_url(valkey.url) as redis:
            assert redis.get("kept") == b"yes"


@pytest.mark.parametrize("birth", ["", "another time"])
def test_a_stranger_with_the_recorded_pid_is_left_alone(tmp_path: Path, birth: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "valkey.pid").write_text(f"{stranger.pid}\n{birth}\n")
        with EmbeddedValkey(tmp_path):
            assert stranger.poll() is None
        stranger.kill()


def test_a_missing_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="no-such-server"):
        EmbeddedValkey(tmp_path, binary=tmp_path / "no-such-server").start()
