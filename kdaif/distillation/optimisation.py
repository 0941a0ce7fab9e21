"""Optimiser steps on the distillation objective."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from kdaif.collective import SOLO, Collective
from kdaif.datasets import Strings
from kdaif.distillation.augmentation import augmented
from kdaif.distillation.beliefs import BeliefRecord
from kdaif.distillation.losses import objective
from kdaif.distillation.schedule import Schedule, Step
from kdaif.distillation.soft_losses import soft_losses
from kdaif.errors import NonFiniteError
from kdaif.linalg import predicting_and_taught
from kdaif.records.spec import Training
from kdaif.sharding import divide_gradients, is_sharded, own_parts, recast
from kdaif.top_rows import RowNumbers, taken
from kdaif.workspace import Workspace

_NAMED_ROWS = 10


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """L on the device: `features` raw `[M, ...]`, `labels` int64 `[M]`, `ids` `[M]` for messages."""

    features: Tensor
    labels: Tensor
    ids: NDArray[Any] | Strings


@dataclass(frozen=True, eq=False)
class SoftRows:
    """U on the device: `features` raw `[N, ...]`, `log_targets` log q^T float32 `[N, C]`, `weights` float32 `[N]`."""

    features: Tensor
    log_targets: RowNumbers
    weights: Tensor
    ids: NDArray[Any] | Strings


def train_steps(
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    labeled: LabeledRows,
    soft: SoftRows | None,
    steps: Schedule | Sequence[Step],
    training: Training,
    *,
    workspace: Workspace | None = None,
    record: BeliefRecord | None = None,
    rates: Sequence[float] | None = None,
    average: AveragedModel | None = None,
    both_heads: nn.Module | None = None,
) -> float:
    """Takes the steps in order and returns the mean of the objective over them.

    Labelled and unlabelled rows of a step go through the student in one forward pass, so that BatchNorm sees both. On a
    CUDA device the forward pass runs in bfloat16 and the loss in float32.

    Args:
        student: on the device of the rows, whole or `kdaif.sharding.shard`; left in training mode.
        optimizer: over the student's parameters.
        labeled: L.
        soft: U; None trains on L alone (the supervised arm), with as many steps.
        steps: from `round_schedule`.
        training: loss weights, temperature, and whether rows are varied on the way (`augmented`).
        workspace: of the rows, and of the processes that share each batch where `is_divisible`; else each of them does
            all of it. None where the rows are all in memory.
        record: takes what the student says of the pseudo-labels in each step.
        rates: learning rate of each step, from `learning_rates`; None leaves the optimiser's.
        average: takes the weights after each step.
        both_heads: the logits of the student's two heads side by side, `[B, 2 C]`: the first learns the labels of L,
            and is the one that the record hears, the second the soft targets of U. None where one head learns both.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite; names the step and rows.
    """
    student.train()
    device = labeled.features.device
    room = Workspace(device) if workspace is None else workspace
    parameters = list(student.parameters())
    total = torch.zeros((), device=device, dtype=torch.float64)
    shared = room.collective if is_divisible(student, training) else SOLO
    sharded, narrow = is_sharded(student), device.type == "cuda"
    if sharded:
        divide_gradients(student, room.collective.size / shared.size)
    for number, whole in enumerate(steps):
        own = shared.share(len(whole.unlabeled))
        step = Step(whole.labeled[shared.share(len(whole.labeled))], whole.unlabeled[own])
        n_labeled = len(step.labeled)
        features = room.take(labeled.features, step.labeled)
        if soft is not None:
            features = torch.cat([features, room.take(soft.features, step.unlabeled)])
        if training.augment:
            features = augmented(features)
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=narrow, cache_enabled=not sharded),
            recast() if narrow and sharded else contextlib.nullcontext(),
        ):
            outputs = student(features) if both_heads is None else both_heads(features)
        outputs = outputs.float()
        n_classes = outputs.shape[1] if both_heads is None else outputs.shape[1] // 2
        logits, taught = predicting_and_taught(outputs, n_classes)
        hard_losses = functional.cross_entropy(
            logits[:n_labeled], room.take(labeled.labels, step.labeled), reduction="none"
        )
        losses_of_soft, weights = None, None
        if soft is not None:
            losses_of_soft = soft_losses(taught[n_labeled:], taken(soft.log_targets, step.unlabeled, room), training)
            weights = room.take(soft.weights, step.unlabeled)
        weight_sum = weights
        if soft is not None and shared.size > 1:
            weight_sum = room.take(soft.weights, whole.unlabeled).sum()
        loss = objective(
            hard_losses,
            losses_of_soft,
            weights,
            hard_label_weight=training.hard_label_weight,
            soft_label_weight=training.soft_label_weight,
            of_all=(len(whole.labeled), weight_sum) if shared.size > 1 else None,
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = own_parts(p.grad for p in parameters if p.grad is not None)
        loss, said = loss.detach(), logits[n_labeled:].detach()
        if shared.size > 1:
            of_share, said = said, logits.new_zeros(0 if soft is None else len(whole.unlabeled), logits.shape[1])
            if soft is not None:
                said[own] = of_share
            shared.total(loss, said, *(() if sharded else gradients))
        elif not sharded:
            room.collective.copied(*gradients)
        if soft is not None and record is not None:
            record.add(whole.unlabeled, said)
        if not _are_finite(loss, gradients, room.collective if sharded else SOLO):
            raise _non_finite(number, step, labeled, soft, hard_losses, losses_of_soft)
        if rates is not None:
            for group in optimizer.param_groups:
                group["lr"] = rates[number]
        optimizer.step()
        if average is not None:
            average.update_parameters(student)
        total += loss
    room.collective.copied(*student.buffers())
    room.release()
    return float(total) / max(len(steps), 1)


def is_divisible(student: nn.Module, training: Training) -> bool:
    """Whether the gradient of a batch is the sum over shares of it, each in a process of its own.

    It is not with BatchNorm, whose mean is the batch's, nor with Dropout or varied rows, which are drawn for all
    of the batch.
    """
    if training.augment:
        return False
    return not any(
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        or (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        or (isinstance(module, nn.MultiheadAttention) and module.dropout > 0)
        for module in student.modules()
    )


def _are_finite(loss: Tensor, gradients: list[Tensor], parts: Collective) -> bool:
    """Of gradients that `parts` hold a part of each, and of all those parts alike.

    What is not finite in a sum stays so. A norm of them all takes a GPU the fewest launches, and a CPU longer.
    """
    if loss.device.type == "cuda":
        sums = [nn.utils.get_total_norm(gradients)]
    else:
        sums = [gradient.sum() for gradient in gradients]
    found = torch.stack([loss, *sums]).sum()
    parts.total(found)
    return math.isfinite(float(found))


def _non_finite(
    number: int,
    step: Step,
    labeled: LabeledRows,
    soft: SoftRows | None,
    hard_losses: Tensor,
    losses_of_soft: Tensor | None,
) -> NonFiniteError:
    """Names the rows whose own loss is not finite; when only the gradient is, the rows of the whole batch."""
    bad = list(labeled.ids[step.labeled][~torch.isfinite(hard_losses.detach()).cpu().numpy()])
    every = list(labeled.ids[step.labeled])
    if soft is not None and losses_of_soft is not None:
        bad += list(soft.ids[step.unlabeled][~torch.isfinite(losses_of_soft.detach()).cpu().numpy()])
        every += list(soft.ids[step.unlabeled])
    what, rows = ("loss", bad) if bad else ("gradient", every)
    named = ", ".join(str(row) for row in rows[:_NAMED_ROWS]) + (", ..." if len(rows) > _NAMED_ROWS else "")
    return NonFiniteError(
        f"The {what} of batch {number} is NaN or infinite at {len(rows)} rows (ids {named}). "
        "Lower spec.training.learning_rate, or check the features and soft targets of these rows."
    )
