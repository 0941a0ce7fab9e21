"""A program: two rounds of the influence arm, by one process or several.

Usage: two_processes [PATH, DROPOUT, DUAL, KEPT].
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch

from kdaif.collective import joined
from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.processes import end_now
from kdaif.records import DistillationSpec, Mlp, PreflightReport, Training, Weighting
from kdaif.rounds import train_arm
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif.top_classes import TopClasses
from kdaif.top_rows import TopRows
from kdaif.workspace import Workspace

_CENTRES = np.random.default_rng(9).normal(size=(3, 6)) * 1.2


def _rows(n: int, seed: int, *, labelled: bool = True) -> Rows:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features = (_CENTRES[labels] + generator.normal(size=(n, 6))).astype(np.float32)
    return Rows(np.arange(n), features, labels if labelled else labels[:0], truth=None if labelled else labels)


def rows_and_logits() -> tuple[DistillationData, SoftTargets]:
    """Of three classes; U has 2,101 rows."""
    signature = InputSignature(kind="numeric", shape=(6,), columns=tuple("abcdef"))
    parts = [_rows(n, seed) for n, seed in ((15, 1), (40, 2), (30, 3), (50, 5))]
    pool = _rows(2101, 4, labelled=False)
    data = DistillationData(
        ("x", "y", "z"), signature, *parts[:3], pool, parts[3], report=PreflightReport(), test_is_given=True
    )
    logits = np.random.default_rng(7).normal(size=(2101, 3)).astype(np.float32)
    logits += 3 * np.eye(3, dtype=np.float32)[pool.truth]
    return data, SoftTargets(logits, None, None, None)


def main() -> None:
    path, dropout, dual_head, kept = json.loads(sys.argv[1])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    data, targets = rows_and_logits()
    spec = DistillationSpec(
        labeled="a" * 32,
        unlabeled="b" * 32,
        student=Mlp(hidden_sizes=(16,), dropout=dropout),
        training=Training(rounds=2, epochs_per_round=2, batch_size=64, dual_head=dual_head),
        weighting=Weighting(rounds_per_scoring=1, scout_epochs=3, blocks=4, solver="cg"),
    )
    if kept:
        top = TopClasses.empty(2101, 3, 2.0, Scratch(), kept=kept)
        top[:] = targets.logits[:]
        targets = SoftTargets(top, None, None, None)
    with joined() as group:
        assert group.first_ones({"rank": float(group.rank)}) == {"rank": 0.0}
        last = list(train_arm("influence", spec, data, targets, seed=1, device=torch.device("cpu")))[-1]
        tensors = last.state.tensors
        student = torch.cat([value.flatten().float() for name, value in tensors.items() if name.startswith("student/")])
        leaders = student.clone()
        group.copied(leaders)
        apart = (leaders - student).abs().max()
        group.total(apart)
        room = Workspace(torch.device("cpu"))
        said = TopRows.from_tensors(tensors, "beliefs/probabilities", "probabilities", room)
        probabilities = tensors["beliefs/probabilities"] if said is None else said[:]
        own = [tensors[f"beliefs/{name}"] for name in ("pseudo_labels", "known_labels", "trust")]
        beliefs = torch.cat([value.flatten().float() for value in (*own, probabilities)])
        if group.leads:
            made = {"student": student, "weights": tensors["weighting/weights"], "beliefs": beliefs}
            found = {"solution": tensors["weighting/solution"]}
            torch.save(made | found | {"size": group.size, "peers_differ": float(apart)}, path)


if __name__ == "__main__":
    main()
    end_now(0)
