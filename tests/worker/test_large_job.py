"""A job larger than what its worker may hold of it: in a process of its own, whose peak is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker import large_job

_ROWS = 300_000  # of 64 numbers: 77 MB of inputs, and 38 MB of scores on 32 blocks
_SLAB_BYTES = 4 * 2**20
_MOST_GROWN_MB = 150.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_grows_by_little_whatever_the_rows(tmp_path: Path) -> None:
    program = [sys.executable, "-m", large_job.__name__, str(_ROWS), str(tmp_path), str(_SLAB_BYTES)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # 94 MB here, most of it the sample of the report. With its arrays in memory the same job takes 440 MB.
    assert json.loads(done.stdout)["grown_mb"] < _MOST_GROWN_MB, done.stderr
