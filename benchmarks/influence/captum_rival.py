"""captum's TracInCPFast: gradients of the last layer at the one checkpoint there is, without a curvature."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from captum.influence import TracInCPFast
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.influence.by_hand import ROWS_PER_BATCH
from benchmarks.influence.clock import Method, Scores
from benchmarks.influence.work import Work


def _tracin(work: Work, _: int) -> Scores:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = str(Path(folder) / "model.pt")
        torch.save(work.model.state_dict(), checkpoint)
        tracin = TracInCPFast(
            work.model,
            work.model[-1],
            TensorDataset(work.features, work.labels),
            [checkpoint],
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            batch_size=ROWS_PER_BATCH,
        )
        pairs = tracin.influence((work.validation_features, work.validation_labels))
    found: Scores = (-pairs.mean(dim=0)).detach().numpy()
    return found


METHODS: dict[str, Method] = {"tracin": _tracin}
