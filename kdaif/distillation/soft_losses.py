"""The loss of a row's soft target, as the job chose it: per row, in log-space and at least float32, as all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from kdaif.distillation.losses import distillation_loss, log_probabilities
from kdaif.records.spec import Training

# A target of probability 0 would make the reverse divergence infinite: it counts as the smallest normal float32.
_SMALLEST_LOG_TARGET = math.log(torch.finfo(torch.float32).tiny)
# Of a row's logits; keeps the gradient of a row whose logits are all alike finite.
_SMALLEST_SPREAD = 1e-3


def soft_losses(student_logits: Tensor, log_targets: Tensor, training: Training) -> Tensor:
    """The loss that `training.loss` names, of each row, `[N]`.

    Args:
        student_logits: `[N, C]`, at temperature 1.
        log_targets: `[N, C]`, log q^T from `soft_log_targets`; -inf where a probability is zero.
        training: loss, temperature and whether the logits are standardised.
    """
    logits = standardised(student_logits) if training.standardise_logits else student_logits
    match training.loss:
        case "forward_kl":
            return distillation_loss(logits, log_targets, training.temperature)
        case "reverse_kl":
            return reverse_divergence(logits, log_targets, training.temperature)
        case "symmetric_kl":
            forward = distillation_loss(logits, log_targets, training.temperature)
            return (forward + reverse_divergence(logits, log_targets, training.temperature)) / 2
        case "dkd":
            return decoupled_loss(
                logits, log_targets, training.temperature, alpha=training.dkd_alpha, beta=training.dkd_beta
            )


def soft_log_targets(logits: Tensor, training: Training) -> Tensor:
    """Log q^T `[N, C]` of a teacher's logits `[N, C]`, standardised where the student's are."""
    return log_probabilities(standardised(logits) if training.standardise_logits else logits, training.temperature)


def standardised(logits: Tensor) -> Tensor:
    """Each row of `[N, C]` with mean 0 and standard deviation 1 over its classes (Sun et al. 2024, equation 9).

    A student then need not copy the teacher's range of logits, only their shape. A row of equal logits becomes 0.
    """
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    centred = wide - wide.mean(dim=-1, keepdim=True)
    # The result does not depend on the size of the row; taking it out first keeps the squares from overflowing.
    size = centred.detach().abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
    shape = centred / size
    variance = shape.square().mean(dim=-1, keepdim=True) + (_SMALLEST_SPREAD / size) ** 2
    return shape * variance.rsqrt()


def reverse_divergence(student_logits: Tensor, log_targets: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(p^T || q^T) per row, `[N]`: to leave out a class of the target costs less than to add one.

    Args:
        student_logits: `[N, C]`, at temperature 1.
        log_targets: `[N, C]`, log q^T; what is below the smallest normal float32 counts as that.
        temperature: T > 0.
    """
    log_student = log_probabilities(student_logits, temperature)
    floored = log_targets.clamp_min(_SMALLEST_LOG_TARGET)
    return (log_student.exp() * (log_student - floored)).sum(dim=-1) * temperature**2


def decoupled_loss(
    student_logits: Tensor, log_targets: Tensor, temperature: float, *, alpha: float, beta: float
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD) per row, `[N]` (decoupled knowledge distillation, Zhao et al. 2022, eq. 7).

    TCKD is the divergence of (target class, all others), NCKD that among the others alone. The forward divergence is
    TCKD + (1 - q_target) * NCKD, which all but mutes the others where the teacher is sure. The target class is the most
    likely one of the row's own target, so that of the teacher where targets are kept.

    Args:
        student_logits: `[N, C]`, C >= 3, at temperature 1; with two classes NCKD is 0.
        log_targets: `[N, C]`, log q^T; -inf where a probability is zero.
        temperature: T > 0.
        alpha: weight of TCKD.
        beta: weight of NCKD; a row whose target has no other class has none.
    """
    log_student = log_probabilities(student_logits, temperature)
    target = log_targets.argmax(dim=-1, keepdim=True)
    is_target = functional.one_hot(target[..., 0], log_targets.shape[-1]).bool()
    others, log_student_others = (values.masked_fill(is_target, -torch.inf) for values in (log_targets, log_student))
    rest = others.logsumexp(dim=-1, keepdim=True)
    log_student_rest = log_student_others.logsumexp(dim=-1, keepdim=True)
    binary = torch.cat([log_targets.gather(-1, target), rest], dim=-1)
    log_student_binary = torch.cat([log_student.gather(-1, target), log_student_rest], dim=-1)
    of_target = _divergence(binary, log_student_binary)
    # Where nothing is left for the others, rest is -inf and the difference NaN, which counts as probability 0.
    of_others = _divergence(others - rest, log_student - log_student_rest)
    return (alpha * of_target + beta * of_others) * temperature**2


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    # Not from NaN, which would reach the gradient even where it is left out below.
    q = torch.where(log_q > -torch.inf, log_q.exp(), 0.0)
    # 0 * log 0 is 0.
    return torch.where(q > 0, q * (log_q - log_p), 0.0).sum(dim=-1)
