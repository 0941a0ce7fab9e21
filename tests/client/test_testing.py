"""The stack that other programs' tests get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kdaif_client import Client
from kdaif_client.errors import MissingDependency, Unavailable
from kdaif_client.testing import local_stack

THEIR_TESTS = """
import numpy as np
import pytest

@pytest.fixture
def pool(kdaif):
    return kdaif.upload_dataset({"features": np.eye(3)}, name="pool")

def test_a_table_is_uploaded(kdaif, pool):
    assert [each.name for each in kdaif.list_datasets()] == [pool.name]

def test_each_test_has_a_tenant_of_its_own(kdaif):
    assert list(kdaif.list_datasets()) == []

def test_the_stack_is_one(kdaif_stack, kdaif):
    assert kdaif_stack.target in repr(kdaif)
    assert kdaif_stack.log.exists()
"""


def test_the_fixtures_bring_up_a_real_stack(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(THEIR_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    # By name: a checkout that is on the path and not installed has no entry points, and a plugin is loaded only once.
    plugin = ("-p", "no:kdaif", "-p", "kdaif_client._pytest_plugin")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", *plugin, str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_without_the_server_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdaif_client.testing.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'kdaif-client\[testing\]'"), local_stack(tmp_path):
        pass


def test_a_stack_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    wrong = local_stack(tmp_path, options=("--no-such-option",))
    with pytest.raises(Unavailable, match="unrecognized arguments: --no-such-option"), wrong:
        pass


def test_what_was_stored_is_there_in_the_next_run(tmp_path: Path) -> None:
    for known in (0, 1):
        with local_stack(tmp_path) as stack, Client(stack.target) as client:
            assert len(list(client.list_datasets())) == known
            client.upload_dataset({"x": [1.0, 2.0]}, name="two")
