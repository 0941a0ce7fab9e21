"""Networks of several heads, whose logits stand side by side: each row counts at some of them."""

from __future__ import annotations

import torch
from torch import Tensor


def head_probabilities(logits: Tensor, temperatures: Tensor) -> Tensor:
    """Softmax of each head by itself, in the shape of the logits.

    Args:
        logits: `[M, C]` of one head, `[M, H C]` of H heads side by side.
        temperatures: `[M]` of one head, `[M, H]` of H.
    """
    if temperatures.ndim == 1:
        return torch.softmax(logits / temperatures[:, None], dim=1)
    heads = logits.reshape(len(logits), temperatures.shape[1], -1)
    return torch.softmax(heads / temperatures[:, :, None], dim=2).flatten(1)


def curved(change: Tensor, probabilities: Tensor, row_weights: Tensor) -> Tensor:
    """Row by row and head by head c (diag p - p p^T) times the change of the logits.

    Args:
        change: of the logits, in their shape.
        probabilities: `head_probabilities`.
        row_weights: c, `[M]` of one head, `[M, H]` of H.
    """
    if row_weights.ndim == 1:
        return row_weights[:, None] * probabilities * (change - (probabilities * change).sum(dim=1, keepdim=True))
    moved, p = (values.reshape(len(values), row_weights.shape[1], -1) for values in (change, probabilities))
    return (row_weights[:, :, None] * p * (moved - (p * moved).sum(dim=2, keepdim=True))).flatten(1)


def predicting_and_taught(logits: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Logits `[M, C]` of the head that predicts, the first, and of that which soft targets teach, the last.

    Args:
        logits: `[M, C]`, and then both are the same, or `[M, 2 C]`.
        n_classes: C.
    """
    if logits.shape[1] == n_classes:
        return logits, logits
    return logits[:, :n_classes], logits[:, -n_classes:]
