"""What the student said of each pseudo-label just before it learned from it."""

from __future__ import annotations

import torch
from torch import Tensor

_CLIP = 8.0


def label_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the probability of a label, log p - log(1 - p), `[N]`, clipped to -8..8.

    Args:
        logits: `[N, C]`.
        labels: int64 `[N]`.
    """
    of_label = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
    return (of_label - others).clamp(-_CLIP, _CLIP)


class AgreementRecord:
    """Mean over the passes of a round of the logit of the student's probability of each pseudo-label.

    The forward pass of a training step sees the row before that step learns from it. So the record costs next to
    nothing, and lags behind what the student has memorised (after "area under the margin", Pleiss et al. 2020).
    """

    def __init__(self, pseudo_labels: Tensor) -> None:
        """Empty. `pseudo_labels` is int64 `[N]`, on the device of the training."""
        self._labels = pseudo_labels
        self._sums = torch.zeros(len(pseudo_labels), device=pseudo_labels.device)
        self._passes = torch.zeros_like(self._sums)

    def add(self, rows: Tensor, logits: Tensor) -> None:
        """Takes the logits `[B, C]` of the rows `[B]` of U in one step."""
        self._sums[rows] += label_logits(logits.detach(), self._labels[rows])
        self._passes[rows] += 1

    def mean(self) -> Tensor:
        """`[N]`; 0 for a row that was not seen."""
        return self._sums / self._passes.clamp_min(1)
