"""Two real processes that talk by gloo on the loopback, and one that does the same work alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kdaif.collective import Collective
from kdaif.distillation import is_divisible
from kdaif.records import Training

_PROGRAM = "tests.kdaif.two_processes"
TORCHRUN = (
    *("-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "0", "--monitor-interval", "0.1"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 5, 64])
def test_shares_are_all_of_it_once_and_even(size: int, n: int) -> None:
    shares = Collective(0, size).shares(n)
    assert [row for share in shares for row in range(n)[share]] == list(range(n))
    lengths = [len(range(n)[share]) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_alone_nothing_changes_hands() -> None:
    alone, one = Collective(), torch.ones(2)
    alone.total(one)
    alone.copied(one)
    alone.meet()
    assert one.tolist() == [1, 1]
    assert (alone.agreed(3), alone.leads) == (3, True)


def test_what_depends_on_the_whole_batch_is_not_divided() -> None:
    assert is_divisible(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0), nn.LayerNorm(2)), Training())
    assert not is_divisible(nn.Linear(2, 2), Training(augment=True))
    assert not is_divisible(nn.BatchNorm1d(2), Training())
    assert not is_divisible(nn.Dropout(0.1), Training())
    assert not is_divisible(nn.MultiheadAttention(4, 2, dropout=0.1), Training())


@pytest.mark.parametrize(
    ("dropout", "dual_head", "kept"), [(0.0, False, 0), (0.3, False, 0), (0.0, True, 0), (0.0, True, 2)]
)
def test_two_processes_equal_one(tmp_path: Path, dropout: float, dual_head: bool, kept: int) -> None:
    """Training that is shared, or with dropout done by each; scoring is shared in all. And targets kept in part."""
    _run(("-m", _PROGRAM), tmp_path / "one", dropout, dual_head, kept)
    _run((*TORCHRUN, "-m", _PROGRAM), tmp_path / "two", dropout, dual_head, kept)
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    assert one["size"] == 1
    assert two["size"] == 2
    assert two["peers_differ"] == 0.0
    for name in ("student", "weights", "solution", "beliefs"):
        assert one[name].norm() > 0
        worst = float((one[name].double() - two[name].double()).abs().max())
        assert worst < 1e-5 * max(1.0, float(one[name].abs().max())), (name, worst)


# A peer's tensors are with gloo's threads when the program is over.
_ENDS_EARLY = """
import sys, torch
from torch import distributed
from kdaif.processes import end_now

rank, path = sys.argv[1:]
distributed.init_process_group("gloo", store=distributed.FileStore(path, 2), rank=int(rank), world_size=2)
kept_alive = distributed.distributed_c10d._get_default_group()  # as the mesh of a cut student does
for _ in range(500):
    distributed.all_reduce(torch.ones(200_000), async_op=True)
distributed.destroy_process_group()
end_now(0)
"""


def test_a_process_ends_well_that_its_peers_still_hear(tmp_path: Path) -> None:
    """At the interpreter's own end one of the two aborts."""
    peers = [
        subprocess.Popen(
            [sys.executable, "-c", _ENDS_EARLY, str(rank), str(tmp_path / "store")],
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    told = [peer.communicate(timeout=60)[1] for peer in peers]
    assert [peer.returncode for peer in peers] == [0, 0], told


def _run(program: tuple[str, ...], out: Path, dropout: float, dual_head: bool, kept: int) -> None:
    command = [sys.executable, *program, json.dumps([str(out), dropout, dual_head, kept])]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
