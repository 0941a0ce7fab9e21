"""Clients that have nothing of kdaif but its protos: one in Node, one by reflection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kdaif_client import Client

from tests.e2e.conftest import Stack

ROOT = Path(__file__).parents[2]
NODE = ROOT / "examples" / "node"
_NO_REGISTRY = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "network request")


def write_tables(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 5)) * 3
    files = []
    for name, rows, first in (("labeled", 150, 0), ("pool", 300, 1000)):
        classes = rng.integers(0, 3, rows)
        table = pd.DataFrame(centres[classes] + rng.normal(size=(rows, 5)), columns=list("abcde"))
        table.insert(0, "id", range(first, first + rows))
        if name == "labeled":
            table["label"] = np.array(["cat", "dog", "owl"])[classes]
        files.append(folder / f"{name}.parquet")
        table.to_parquet(files[-1])
    return files[0], files[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_node_uploads_submits_watches_and_lists_weights(stack: Stack, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; 'apt-get install nodejs npm' brings it")
    place = tmp_path / "node"
    place.mkdir()
    for file in ("package.json", "package-lock.json", "distil.js"):
        shutil.copy(NODE / file, place)
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--cache", str(tmp_path / "npm-cache")]
    installed = subprocess.run(install, cwd=place, capture_output=True, text=True, timeout=120)
    if installed.returncode != 0 and any(words in installed.stderr for words in _NO_REGISTRY):
        pytest.skip(f"npm's registry cannot be reached: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    done = subprocess.run(
        ["node", "distil.js", stack.target, *map(str, write_tables(tmp_path))],
        cwd=place,
        env=os.environ | {"KDAIF_PROTOS": str(ROOT / "proto")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    name = lines[0].removeprefix("submitted ")
    events = [int(line[1:].split()[0]) for line in lines if line.startswith("#")]
    assert events == list(range(1, len(events) + 1))
    assert "the 10 most harmful of 300 samples" in lines
    with Client(stack.target) as client:
        most = client.get_job(name).weights(order_by="val_loss_change_if_upweighted desc", limit=10)
        assert [line.split()[0] for line in lines[-10:]] == [weight.id for weight in most]


def test_reflection_tells_all_that_is_needed_for_a_call(stack: Stack) -> None:
    command = [sys.executable, "-m", "examples.reflection", stack.target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "  WriteDataset(stream WriteDatasetRequest) -> (WriteDatasetResponse)" in done.stdout
    assert "  WatchDistillationJob(WatchDistillationJobRequest) -> (stream WatchDistillationJobResponse)" in done.stdout
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert answer.keys() <= {"jobs", "next_page_token"}
