"""Two real processes that hold a part of the student each, and one that holds all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdaif.errors import InvalidInputError
from kdaif.records import DistillationSpec, Layers, Mlp, Training, Weighting
from kdaif.records.architectures import BatchNorm, Dropout, Linear
from kdaif.rounds import train_arm
from kdaif.sharding import is_sharded
from tests.kdaif.test_collective import TORCHRUN
from tests.kdaif.two_processes import rows_and_logits

_PROGRAM = "tests.kdaif.two_sharded"
_NETWORKS = {
    "divided batches": Mlp(hidden_sizes=(17, 8)),
    "whole batches": Layers(layers=(Linear(width=16), BatchNorm(), Dropout(share=0.2))),
}


@pytest.mark.parametrize("resumed", ["resumed", "at once"])
@pytest.mark.parametrize("name", _NETWORKS)
def test_a_student_cut_in_two_is_the_whole_one(tmp_path: Path, name: str, resumed: str) -> None:
    network = _NETWORKS[name].model_dump_json()
    _run(("-m", _PROGRAM), tmp_path / "one", network, "at once")
    _run((*TORCHRUN, "-m", _PROGRAM), tmp_path / "two", network, resumed)
    one, two = (torch.load(tmp_path / made) for made in ("one", "two"))
    assert (one["size"], two["size"]) == (1, 2)
    assert two["peers_differ"] == 0.0
    every = int(one["held"].sum())
    assert int(two["held"].sum()) == every
    # A process more than half holds a row of each matrix and a number of each bias at most.
    assert int(two["held"].max()) < 0.56 * every
    assert one["tensors"].keys() == two["tensors"].keys()
    assert {"student/head.weight", "optimizer/head.weight/exp_avg_sq", "average/n_averaged", "best/head.weight"} <= set(
        two["tensors"]
    )
    for key, expected in {**one["tensors"], "said": one["said"]}.items():
        found = two["said"] if key == "said" else two["tensors"][key]
        worst = float((expected.double() - found.double()).abs().max())
        assert worst < 1e-5 * max(1.0, float(expected.abs().max())), (key, worst)


@pytest.mark.parametrize(
    ("training", "weighting", "field"),
    [
        (Training(), Weighting(solver="cg"), "weighting.solver"),
        (Training(dual_head=True), Weighting(method="uniform"), "training.dual_head"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_fix(training: Training, weighting: Weighting, field: str) -> None:
    data, targets = rows_and_logits()
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, student=Mlp(), training=training, weighting=weighting)
    arm = train_arm("uniform", spec, data, targets, seed=1, device=torch.device("cpu"), sharded=True)
    with pytest.raises(InvalidInputError, match="worker that keeps students whole") as refused:
        next(arm)
    assert [each.field for each in refused.value.violations] == [f"spec.{field}"]


def test_a_network_is_whole_until_it_is_cut() -> None:
    assert not is_sharded(torch.nn.Linear(2, 2))


def _run(program: tuple[str, ...], out: Path, network: str, resumed: str) -> None:
    ran = subprocess.run(
        [sys.executable, *program, str(out), network, resumed], capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
