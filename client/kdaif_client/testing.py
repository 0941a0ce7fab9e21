"""A real stack for tests of programs that use kdaif: Valkey, the server and a worker on the loopback, in one folder.

With pytest nothing is imported: the fixtures ``kdaif_stack`` (one for the session) and ``kdaif`` (a ``Client`` with a
tenant of its own for each test) are there once kdaif-client is installed. Without pytest:

>>> from kdaif_client.testing import local_stack
>>> with local_stack(Path("scratch")) as stack, Client(stack.target) as kdaif:
...     kdaif.upload_dataset(table, name="pool")

Nothing is replaced by a double, so the stack needs ``pip install 'kdaif-client[testing]'``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kdaif_client.errors import MissingDependency, Unavailable

__all__ = ["Stack", "local_stack"]

_START_S = 60.0
_STOP_S = 30.0
_POLL_S = 0.05
_LOG_TAIL_BYTES = 2000


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        target: ``host:port`` for ``Client`` and ``AsyncClient``.
        dashboard: URL of the dashboard; empty when there is none.
        log: file that the stack writes to.
        pid: process to which SIGTERM ends the stack in order.
    """

    target: str
    dashboard: str
    log: Path
    pid: int


@contextmanager
def local_stack(folder: Path, *, options: Sequence[str] = ("--dashboard", "off")) -> Iterator[Stack]:
    """Starts a stack on a free port, and ends it with the block. It ends with this process, too, however that ends.

    Args:
        folder: where everything is kept; jobs and data sets of an earlier run in it are there again.
        options: of ``kdaif-server up``.

    Raises:
        MissingDependency: kdaif-server or kdaif-worker is not installed.
        Unavailable: the stack did not start; the message has the end of its log.
    """
    missing = [name for name in ("kdaif_server", "kdaif_worker") if find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"A stack needs {' and '.join(missing)}, and only the client is installed here. "
            "Install the rest with: pip install 'kdaif-client[testing]'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ready, log = folder / "ready.json", folder / "stack.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kdaif_server", "up", "--port", "0", "--data-dir", str(folder)]
    command += ["--ready-file", str(ready), "--die-with", str(os.getpid()), *options]
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C comes to us alone, and we end the stack in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _START_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
                raise Unavailable(f"The stack did not start. The end of {log}:\n{tail}")
            time.sleep(_POLL_S)
        told = json.loads(ready.read_text())
        yield Stack(told["target"], told["dashboard"] or "", log, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
