"""The distillation loss per row and the objective of one batch, in float32 and in log-space throughout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# A batch whose weights are all zero then contributes nothing instead of NaN.
_SMALLEST_WEIGHT_SUM = 1e-8
_LOG_OF_ZERO = -1e4


def log_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-softmax of logits / T over the last axis, at least float32.

    Args:
        logits: `[N, C]`; half precision is widened first.
        temperature: T > 0.
    """
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return functional.log_softmax(wide / temperature, dim=-1)


def distillation_loss(student_logits: Tensor, log_targets: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(q^T || p^T) per row, `[N]`: the sum over classes, not their mean (Hinton et al. 2015, section 2).

    T^2 keeps the gradient's size independent of T, since that of the KL term falls as 1/T^2.

    Args:
        student_logits: `[N, C]`, at temperature 1.
        log_targets: `[N, C]`, log q^T, already at temperature T; -inf where a probability is zero.
        temperature: T > 0.
    """
    log_student = log_probabilities(student_logits, temperature)
    # 0 * log 0 is 0, as it is of a finite logarithm whose exponential is 0.
    finite = log_targets.clamp_min(_LOG_OF_ZERO)
    divergence = functional.kl_div(log_student, finite, reduction="none", log_target=True).sum(dim=-1)
    return divergence * temperature**2


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """sum(w l) / sum(w); zero when every weight is zero. Both `[N]`."""
    return (weights * losses).sum() / weights.sum().clamp_min(_SMALLEST_WEIGHT_SUM)


def objective(
    hard_losses: Tensor,
    soft_losses: Tensor | None,
    weights: Tensor | None,
    *,
    hard_label_weight: float,
    soft_label_weight: float,
    of_all: tuple[int, Tensor | None] | None = None,
) -> Tensor:
    """J of one batch: mean(hard) * hard_label_weight + soft_label_weight * sum(w soft) / sum(w).

    Args:
        hard_losses: `[M]`, cross-entropy of the labelled rows.
        soft_losses: `[N]`, distillation losses of the unlabelled rows; None when there are none.
        weights: `[N]`, not negative.
        hard_label_weight: share of the labelled rows.
        soft_label_weight: share of the unlabelled rows.
        of_all: where these are a share of a batch, its number of labelled rows and its sum of weights: the objective of
            the batch is then the sum over the shares.
    """
    if of_all is not None:
        n_labeled, weight_sum = of_all
        found = hard_label_weight * hard_losses.sum() / n_labeled
        if soft_losses is None or weights is None or weight_sum is None:
            return found
        return found + soft_label_weight * (weights * soft_losses).sum() / weight_sum.clamp_min(_SMALLEST_WEIGHT_SUM)
    hard = hard_label_weight * hard_losses.mean()
    if soft_losses is None or weights is None:
        return hard
    return hard + soft_label_weight * weighted_mean(soft_losses, weights)


def blended_log_targets(log_targets: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    """log(share * exp(log_targets) + (1 - share) * exp(other)), row by row.

    Args:
        log_targets: log probabilities `[N, C]`.
        other: log probabilities `[N, C]`.
        shares: `[N]`, in 0..1; at 0 and 1 the result is exactly one of the two.
    """
    share = shares[:, None]
    mixed = torch.logaddexp(log_targets + share.log(), other + torch.log1p(-share))
    return torch.where(share >= 1, log_targets, torch.where(share <= 0, other, mixed))
