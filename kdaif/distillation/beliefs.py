"""What the student said of each pseudo-labelled row just before it learned from it."""

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


class BeliefRecord:
    """Means over the passes of a round of what the student said of each row of U.

    The forward pass of a training step sees the row before that step learns from it. So the record costs next to
    nothing, and lags behind what the student has memorised (after "area under the margin", Pleiss et al. 2020, and
    temporal ensembling, Laine and Aila 2017).
    """

    def __init__(self, pseudo_labels: Tensor, n_classes: int) -> None:
        """Empty. `pseudo_labels` is int64 `[N]`, on the device of the training."""
        self._labels = pseudo_labels
        self._logits = torch.zeros(len(pseudo_labels), device=pseudo_labels.device)
        self._probabilities = torch.zeros(len(pseudo_labels), n_classes, device=pseudo_labels.device)
        self._passes = torch.zeros_like(self._logits)

    def add(self, rows: Tensor, logits: Tensor) -> None:
        """Takes the logits `[B, C]` of the rows `[B]` of U in one step."""
        said = logits.detach()
        self._logits[rows] += label_logits(said, self._labels[rows])
        self._probabilities[rows] += torch.softmax(said, dim=1)
        self._passes[rows] += 1

    def label_logits(self) -> Tensor:
        """Mean logit of each pseudo-label, `[N]`; 0 for a row that was not seen."""
        return self._logits / self._passes.clamp_min(1)

    def probabilities(self) -> Tensor:
        """Mean probabilities at temperature 1, `[N, C]`; 0 for a row that was not seen."""
        return self._probabilities / self._passes.clamp_min(1)[:, None]
