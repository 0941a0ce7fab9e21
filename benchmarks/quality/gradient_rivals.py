"""Rivals that ask the gradient on held-out labels: learning to reweight and Meta-Weight-Net.

Both look one step of gradient descent ahead: a row's weight moves the loss on the held-out rows by -(step size)
g . grad l_i, which one forward-mode pass gives for all rows. They may use all held-out rows, the gate's too.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality.loop import Job, Moment, Weigh
from kdaif.linalg import directional_derivatives, linearise, logits_of, parameter_vector

_META_RATE = 1e-2
_META_HIDDEN = 100


def learning_to_reweight(job: Job) -> Weigh:
    """Weights max(0, g . grad l_i) (Ren et al. 2018); the published rule, four times an epoch instead of every step."""

    def weigh(moment: Moment) -> NDArray[np.float64]:
        helps: NDArray[np.float64] = alignment(moment).clamp_min(0).double().numpy()
        return helps if helps.sum() > 0 else np.ones_like(helps)

    return weigh


def meta_weight_net(job: Job) -> Weigh:
    """Weights that are a learned function of the loss (Shu et al. 2019): one hidden layer of 100, sigmoid output.

    Four steps of Adam an epoch at ten times the published rate, since the published one is for a step every batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        network = nn.Sequential(nn.Linear(1, _META_HIDDEN), nn.ReLU(), nn.Linear(_META_HIDDEN, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(network.parameters(), lr=_META_RATE)

    def weigh(moment: Moment) -> NDArray[np.float64]:
        losses = moment.losses[:, None]
        weights = network(losses)[:, 0]
        looked_ahead = -(weights / weights.sum() * alignment(moment)).sum()
        optimizer.zero_grad()
        looked_ahead.backward()
        optimizer.step()
        with torch.no_grad():
            result: NDArray[np.float64] = network(losses)[:, 0].double().numpy()
        return result

    return weigh


def alignment(moment: Moment) -> Tensor:
    """G . grad l_i of every row of U, `[N]`: positive where a step on the row lowers the held-out loss."""
    rows, student = moment.job.rows, moment.student
    temperature = moment.job.spec.training.temperature
    held_out, labels = moment.job.held_out.features, moment.job.held_out.labels
    theta = parameter_vector(student)
    logits, transposed = linearise(logits_of(student, held_out), theta)
    errors = torch.softmax(logits.detach(), dim=1) - functional.one_hot(labels, logits.shape[1])
    gradient = transposed(errors / len(labels)).detach()
    outputs, changes = directional_derivatives(logits_of(student, rows.features), theta, gradient[None])
    in_logits = temperature * (torch.softmax(outputs / temperature, dim=1) - rows.teacher_log_targets[:].exp())
    return (changes[0] * in_logits).sum(dim=1)
