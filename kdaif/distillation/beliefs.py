"""What the student said of each pseudo-labelled row just before it learned from it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from kdaif.top_rows import RowNumbers, TopRows, empty_rows
from kdaif.workspace import Workspace

MOST_SURE = 8.0
"""Logits of a label's probability are clipped to it, on either side."""

# Logits that wait to be added together, in entries: a step's few rows cost as many operations as a hundred steps'.
_MOST_WAITING = 1 << 16
_FILLING_CLASSES = 16


def label_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the probability of a label, log p - log(1 - p), `[N]`, clipped to -8..8.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
    """
    of_label = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
    return (of_label - others).clamp(-MOST_SURE, MOST_SURE)


def _probabilities(logits: Tensor) -> Tensor:
    """Softmax of `[N, C]`. On a CPU torch takes several times as long for rows that do not fill its vectors."""
    missing = max(0, _FILLING_CLASSES - logits.shape[1])
    return torch.softmax(functional.pad(logits, (0, missing), value=-torch.inf), dim=1)[:, : logits.shape[1]]


class BeliefRecord:
    """Means over the passes of a round of what the student said of each row of U.

    The forward pass of a training step sees the row before that step learns from it. So the record costs next to
    nothing, and lags behind what the student has memorised (after "area under the margin", Pleiss et al. 2020, and
    temporal ensembling, Laine and Aila 2017).
    """

    def __init__(
        self,
        pseudo_labels: Tensor,
        n_classes: int,
        workspace: Workspace | None = None,
        like: RowNumbers | None = None,
    ) -> None:
        """Empty.

        Args:
            pseudo_labels: int64 `[N]`, on the device of the training.
            n_classes: C.
            workspace: of the rows; None where all are in memory.
            like: targets: where they are kept by their largest classes, so is what the student says.
        """
        self._workspace = Workspace(pseudo_labels.device) if workspace is None else workspace
        # Of each row the sums of its probabilities and of the logit of its label, its passes, and its label: side by
        # side, since they may lie on a disk, where a row is read and written at once.
        self._sums: TopRows | None = None
        if isinstance(like, TopRows):
            self._sums = like.like(self._workspace, kind="probabilities")
        n_sums = n_classes if self._sums is None else 0
        self._rows = self._workspace.zeros((len(pseudo_labels), n_sums + 3))
        for rows in self._workspace.slabs(len(pseudo_labels), self._rows[:1].nbytes):
            self._rows[rows, -1] = pseudo_labels[rows].float()
        self._waiting: list[tuple[NDArray[np.int64], Tensor]] = []
        self._entries = 0

    def add(self, rows: NDArray[np.int64], logits: Tensor) -> None:
        """Takes the logits `[B, C]` of the rows `[B]` of U, none of them twice, in one step; they must not change."""
        if self._sums is not None:
            self._add_top(self._sums, rows, logits.detach())
            return
        self._waiting.append((rows, logits.detach()))
        self._entries += logits.numel()
        if self._entries >= _MOST_WAITING:
            self._add_waiting()

    def _add_top(self, sums: TopRows, rows: NDArray[np.int64], said: Tensor) -> None:
        known = self._workspace.take(self._rows, rows)
        sums.put(rows, sums.take(rows, self._workspace) + torch.softmax(said, dim=1), self._workspace)
        known[:, -3] += label_logits(said, known[:, -1].long())
        known[:, -2] += 1
        self._workspace.put(self._rows, rows, known)

    def _add_waiting(self) -> None:
        """In the order in which they came, so that it is as if each had been added at once."""
        if not self._waiting:
            return
        said = torch.cat([logits for _, logits in self._waiting])
        once, inverse = np.unique(np.concatenate([rows for rows, _ in self._waiting]), return_inverse=True)
        self._waiting, self._entries = [], 0
        places = torch.from_numpy(inverse).to(said.device)
        known = self._workspace.take(self._rows, once)
        of_label = label_logits(said, known[:, -1].long()[places])
        said = torch.cat([_probabilities(said), of_label[:, None], torch.ones_like(of_label)[:, None]], dim=1)
        known[:, :-1].index_add_(0, places, said)
        self._workspace.put(self._rows, once, known)

    def label_logits(self) -> Tensor:
        """Mean logit of each pseudo-label, `[N]`; 0 for a row that was not seen."""
        self._add_waiting()
        found = self._workspace.empty((len(self._rows),))
        for rows in self._workspace.slabs(len(self._rows), self._rows[:1].nbytes):
            found[rows] = self._rows[rows, -3] / self._rows[rows, -2].clamp_min(1)
        return found

    def probabilities(self) -> RowNumbers:
        """Mean probabilities at temperature 1, `[N, C]`; 0 for a row that was not seen."""
        self._add_waiting()
        sums = self._rows[:, :-3] if self._sums is None else self._sums
        found = empty_rows(len(self._rows), sums, "probabilities", self._workspace)
        for rows in self._workspace.slabs(len(self._rows), 2 * 4 * (3 + sums.shape[1])):
            found[rows] = sums[rows] / self._rows[rows, -2:-1].clamp_min(1)
        return found
