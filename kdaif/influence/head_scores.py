"""Influence through the last layer alone, in closed form: the body of the network counts as fixed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kdaif.influence.along import Along, Elsewhere
from kdaif.influence.blocks import InfluenceScores, cut_into_blocks, shares_of
from kdaif.influence.curvature import Curvature
from kdaif.influence.row_gradients import RowLoss
from kdaif.linalg import HeadCurvature, HeadRows, head_curvature, head_rows
from kdaif.top_rows import RowNumbers
from kdaif.workspace import Workspace

# Of the curvature along g. Between .01 and .1 the weights find wrong rows alike.
_DAMPING_SHARE = 0.03
_SMALLEST_DAMPING = 1e-6


def head_influence_scores(
    student: nn.Module,
    curvature: Curvature,
    features: Tensor,
    log_targets: RowNumbers,
    validation_features: Tensor,
    validation_labels: Tensor,
    *,
    temperature: float,
    blocks: int,
    damping: float | None,
    seed: int,
    row_loss: RowLoss | None = None,
    workspace: Workspace | None = None,
    elsewhere: Elsewhere | None = None,
) -> InfluenceScores:
    """`influence_scores` with parameters other than the last layer's held fixed, by one forward pass over U and V.

    With logits W a, row i's gradient in W is (dl_i/dz_i) a_i^T, so with V_k = (H + d I)^-1 G_k its influence on block k
    is -(dl_i/dz_i) . (V_k a_i): a product of small matrices, which makes many blocks, and so a standard error worth its
    name, as cheap as one.

    Args:
        student: in eval mode, at the parameters of `curvature`.
        curvature: its rows are those of H.
        features: raw rows of U, `[N, ...]`.
        log_targets: log q^T, `[N, C]`.
        validation_features: raw rows of the score set V, `[M, ...]`.
        validation_labels: int64 `[M]`.
        temperature: T.
        blocks: K; fewer when V is smaller.
        damping: d; None is .03 of the curvature along g.
        seed: of the cut into blocks.
        row_loss: l, that U is trained with; None is T^2 KL(q^T || p^T).
        workspace: of the rows of U and of the scores; None where all are in memory.
        elsewhere: scores the rows once the solve is done; None does it here.
    """
    room = Workspace(features.device) if workspace is None else workspace
    cuts = cut_into_blocks(len(validation_labels), blocks, seed)
    shares = shares_of(cuts)
    held_out = head_rows(student, validation_features)
    errors = torch.softmax(held_out.logits, dim=1) - functional.one_hot(validation_labels, held_out.logits.shape[1])
    gradients = torch.stack([_mean_outer(errors[cut], held_out.inputs[cut]) for cut in map(torch.from_numpy, cuts)])
    of_curvature = head_rows(student, curvature.features)
    try:
        matrix = head_curvature(of_curvature, curvature.row_weights, curvature.temperatures)
        d = damping if damping is not None else scaled_damping(matrix, gradients, shares)
        solved = matrix.solve(gradients, d)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        d, solved = damping or _SMALLEST_DAMPING, torch.full_like(gradients, torch.nan)
    finite = torch.isfinite(solved).flatten(1).all(dim=1)
    solved = torch.where(finite[:, None, None], solved, 0.0)
    along = Along(student, solved, log_targets.shape[1], temperature, row_loss=row_loss)
    sheet = along.sheet(len(features), log_targets, room)
    if elsewhere is None:
        along.write(sheet, features, log_targets, room)
    else:
        elsewhere(along, sheet)
    mean = _mean(gradients, shares)
    return sheet.scores(
        shares,
        solution=None,
        residual=_residual(of_curvature, curvature, mean, _mean(solved, shares), d),
        solver_steps=0,
        solves_stopped=int((~finite).sum()),
        damping=d,
        gradient_norm=float(mean.norm()),
    )


def _mean_outer(errors: Tensor, inputs: Tensor) -> Tensor:
    return errors.T.to(inputs.dtype) @ inputs / len(inputs)


def _mean(of_blocks: Tensor, shares: NDArray[np.float64]) -> Tensor:
    return torch.einsum("k,kci->ci", torch.from_numpy(shares).to(of_blocks), of_blocks)


def scaled_damping(matrix: HeadCurvature, gradients: Tensor, shares: NDArray[np.float64]) -> float:
    """.03 of the curvature along the mean gradient, of those of K blocks `[K, C, I]` with their shares `[K]`."""
    mean = _mean(gradients, shares)
    squared = float(mean.square().sum())
    if squared == 0:
        return 1.0
    return max(_DAMPING_SHARE * float(matrix.along(mean[None])[0]) / squared, _SMALLEST_DAMPING)


def _residual(rows: HeadRows, curvature: Curvature, gradient: Tensor, solution: Tensor, damping: float) -> float:
    """Relative residual for the gradient on all of V, in the exact matrix of the head, which the basis approximates."""
    size = float(gradient.norm())
    if size == 0:
        return 0.0
    p = torch.softmax(rows.logits / curvature.temperatures[:, None], dim=1)
    change = rows.inputs @ solution.T
    curved = curvature.row_weights[:, None] * p * (change - (p * change).sum(dim=1, keepdim=True))
    return float((gradient - curved.T @ rows.inputs - damping * solution).norm()) / size
