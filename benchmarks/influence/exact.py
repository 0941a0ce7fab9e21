"""The answer that every method is held against: the damped Gauss-Newton inverse of all rows, in float64."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.influence.ours import curvature
from benchmarks.influence.work import Work, train
from kdaif.influence import influence_scores
from kdaif.linalg import logits_of, parameter_vector

_RESIDUAL, _MOST_STEPS = 1e-10, 3_000
_DENSE_ROWS = 300


def exact_scores(work: Work) -> tuple[NDArray[np.float64], float, int]:
    """The influence of each row `[N]`, with the relative residual and the steps of the solve."""
    double = _in_float64(work)
    found = influence_scores(
        double.model,
        curvature(double),
        double.features,
        functional.one_hot(double.labels, 10).double().log(),
        double.validation_features,
        double.validation_labels,
        temperature=1.0,
        blocks=1,
        steps=_MOST_STEPS,
        damping=work.damping,
        tolerance=_RESIDUAL,
    )
    return found.influence, found.residual, found.solver_steps


def largest_difference_from_dense(work: Work) -> float:
    """Of `exact_scores` from an inverse with every matrix formed, over the spread of the scores, on a smaller net.

    784 pixels as 7 x 7 means, one hidden layer of 16 where the net has two, 300 rows.
    """
    small = _small(work)
    ours, _, _ = exact_scores(small)
    dense = _dense_scores(_in_float64(small))
    return float(np.abs(ours - dense).max() / dense.std())


def _small(work: Work) -> Work:
    def halved(features: Tensor) -> Tensor:
        pooled = functional.avg_pool2d(features.reshape(-1, 1, 28, 28), 4)
        return pooled if features.ndim == 4 else pooled.flatten(1)

    features, labels = halved(work.features[:_DENSE_ROWS]), work.labels[:_DENSE_ROWS]
    torch.manual_seed(0)
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    body = convolution if features.ndim == 4 else nn.Sequential(nn.Linear(49, 16), nn.ReLU())
    model = nn.Sequential(*body, nn.Linear(36 if features.ndim == 4 else 16, 16), nn.ReLU(), nn.Linear(16, 10))
    train(model, features, labels, 12)
    return replace(
        work,
        model=model.eval(),
        features=features,
        labels=labels,
        validation_features=halved(work.validation_features),
    )


def _dense_scores(work: Work) -> NDArray[np.float64]:
    theta = parameter_vector(work.model)

    def logits_of_row(parameters: Tensor, row: Tensor) -> Tensor:
        return logits_of(work.model, row[None])(parameters)[0]

    jacobian = torch.func.vmap(torch.func.jacrev(logits_of_row), in_dims=(None, 0))
    logits, held_out = work.model(work.features).detach(), work.model(work.validation_features).detach()
    of_rows, of_held_out = jacobian(theta, work.features), jacobian(theta, work.validation_features)
    p = torch.softmax(logits, dim=1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("ndp,ndq->pq", middle @ of_rows, of_rows) / len(p)
    matrix += work.damping * torch.eye(len(theta), dtype=theta.dtype)
    errors = torch.softmax(held_out, dim=1) - functional.one_hot(work.validation_labels, 10)
    gradient = torch.einsum("nc,ncp->p", errors, of_held_out) / len(errors)
    changes = of_rows @ torch.linalg.solve(matrix, gradient)
    found: NDArray[np.float64] = -(changes * (p - functional.one_hot(work.labels, 10))).sum(dim=1).numpy()
    return found


def _in_float64(work: Work) -> Work:
    return replace(
        work,
        model=copy.deepcopy(work.model).double(),
        features=work.features.double(),
        validation_features=work.validation_features.double(),
    )
