"""The program that runs on a card: whole on a little, here on the CPU; and on a card where one is."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

_NO_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none here")


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "benchmarks.gpu", *options]
    return subprocess.run(program, capture_output=True, text=True, timeout=110, check=False)


def test_it_runs_whole_on_a_little() -> None:
    ran = _run("--rehearse")
    assert ran.returncode == 0, ran.stderr
    told = [line.split()[0] for line in ran.stdout.splitlines()]
    assert told == ["supervised", "uniform", "influence", "oracle", "Rehearsed"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here, and the whole of it would run")
def test_it_says_what_it_needs() -> None:
    ran = _run()
    assert ran.returncode == 1
    assert "needs a CUDA device" in ran.stderr
    assert "--rehearse" in ran.stderr


@pytest.mark.gpu
@_NO_CARD
def test_a_card_trains_and_scores() -> None:
    ran = _run("--rehearse")
    assert ran.returncode == 0, ran.stderr
    assert "Rehearsed on cuda" in ran.stdout
