"""The gradient of each row's loss in its logits, for every solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

RowLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Logits `[N, C]` and log q^T `[N, C]` to losses `[N]`, differentiable in the logits, each row by itself."""


def logit_gradients(logits: Tensor, log_targets: Tensor, temperature: float, row_loss: RowLoss | None) -> Tensor:
    """dl_i/dz_i, `[N, C]`.

    Args:
        logits: z, `[N, C]`.
        log_targets: log q^T, `[N, C]`.
        temperature: T.
        row_loss: l; None is T^2 KL(q^T || p^T), whose gradient T (p^T - q^T) needs no differentiation.
    """
    if row_loss is None:
        return temperature * (torch.softmax(logits / temperature, dim=1) - log_targets.exp())
    with torch.enable_grad():
        variable = logits.detach().requires_grad_()
        # No row's loss depends on another's logits, so the gradient of the sum holds that of every row.
        (gradients,) = torch.autograd.grad(row_loss(variable, log_targets).sum(), variable)
    return gradients
