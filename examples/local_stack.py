"""Starts the whole stack on this machine, and ends it with the block."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_START_S = 60.0
_STOP_S = 30.0


@contextlib.contextmanager
def local_stack(data_dir: Path) -> Iterator[str]:
    """Yields the target to connect to. Its log is ``stack.log`` beside the data."""
    data_dir.mkdir(parents=True, exist_ok=True)
    ready, log_file = data_dir / "ready.json", data_dir / "stack.log"
    ready.unlink(missing_ok=True)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kdaif_server", "up", "--port", "0"),
                *("--data-dir", str(data_dir), "--ready-file", str(ready), "--die-with", str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C comes to us alone and we end the stack in order
        )
        try:
            deadline = time.monotonic() + _START_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"The stack did not start. The end of {log_file}:\n{log_file.read_text()[-2000:]}")
                time.sleep(0.05)
            yield str(json.loads(ready.read_text())["target"])
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
