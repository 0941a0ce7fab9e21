"""Influence of every unlabelled row on the score set, by one solve per block and one forward-mode pass."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kdaif.collective import Collective
from kdaif.influence.along import Along, Elsewhere
from kdaif.influence.blocks import InfluenceScores, cut_into_blocks, shares_of
from kdaif.influence.curvature import Curvature
from kdaif.influence.head_scores import head_influence_scores
from kdaif.influence.row_gradients import RowLoss
from kdaif.influence.solvers import System, solve_cg, solve_ekfac
from kdaif.linalg import (
    linearise,
    logits_of,
    predicting_and_taught,
    rows_at_once,
)
from kdaif.records.spec import Solver
from kdaif.top_rows import RowNumbers
from kdaif.workspace import Workspace


def influence_scores(
    student: nn.Module,
    curvature: Curvature,
    features: Tensor,
    log_targets: RowNumbers,
    validation_features: Tensor,
    validation_labels: Tensor,
    *,
    temperature: float,
    blocks: int,
    steps: int,
    solver: Solver = "cg",
    damping: float | None = None,
    start: Tensor | None = None,
    tolerance: float = 1e-2,
    preconditioner_rows: int = 0,
    preconditioner_steps: int = 0,
    seed: int = 0,
    derivative: Literal["forward", "finite_difference"] = "forward",
    row_loss: RowLoss | None = None,
    workspace: Workspace | None = None,
    elsewhere: Elsewhere | None = None,
) -> InfluenceScores:
    """influence_i = -g^T (H + d I)^-1 grad l_i, from the implicit-function theorem (Koh and Liang 2017; KD-AIF).

    With v = (H + d I)^-1 g it is -(dl_i/dz_i) . (J_i v): the derivative of row i's logits along v, dotted with the
    gradient of l_i in the logits, which is T (p_i^T - q_i^T) for T^2 KL(q_i^T || p_i^T). So no gradient per row is ever
    formed. The gradients are those of the loss that is trained; H stays that of a softmax at T, whatever the loss.

    Of a student with two heads, l_i is of the one that soft targets teach, and g of the one that predicts: what they
    share is what a row of U can move.

    The score set is cut into K blocks, each with its own gradient and solve; influence is their mean weighted by size,
    and its spread over the blocks says how much of a score is luck of the score set.

    Args:
        student: in eval mode, at the parameters of `curvature`; of two heads, both logits side by side, `[N, 2 C]`.
        curvature: H.
        features: raw rows of U, `[N, ...]`.
        log_targets: log q^T, `[N, C]`.
        validation_features: raw rows of the score set V, `[M, ...]`.
        validation_labels: int64 `[M]`.
        temperature: T.
        blocks: K; fewer when V is smaller.
        steps: conjugate-gradient steps.
        solver: how v is found.
        damping: d; None scales it to the curvature along g.
        start: an earlier `solution`.
        tolerance: relative residual at which a solve is done; ranks do not move below 1e-2.
        preconditioner_rows: of H, for an EK-FAC that ``cg`` is preconditioned with: true ranks in a seventh to a
            quarter of the steps. It pays where H has several times as many rows; 0 is none.
        preconditioner_steps: of conjugate gradient on those rows, with an EK-FAC of half of them, as a better
            preconditioner: the fewest products with all rows. 0 is the EK-FAC alone.
        seed: of the cut into blocks; the same over rounds keeps `start` meaningful.
        derivative: forward mode, or central differences for layers without a forward-mode rule.
        row_loss: l, that U is trained with; None is T^2 KL(q^T || p^T).
        workspace: of the rows of U and of the scores; None where all are in memory.
        elsewhere: scores the rows once the solves are done; None does it here.
    """
    room = Workspace(features.device) if workspace is None else workspace
    if solver == "head":
        return head_influence_scores(
            student,
            curvature,
            features,
            log_targets,
            validation_features,
            validation_labels,
            temperature=temperature,
            blocks=blocks,
            damping=damping,
            seed=seed,
            row_loss=row_loss,
            workspace=room,
            elsewhere=elsewhere,
        )
    cuts = cut_into_blocks(len(validation_labels), blocks, seed)
    shares = shares_of(cuts)
    gradients = _block_gradients(
        student, curvature.theta, validation_features, validation_labels, cuts, room.collective, log_targets.shape[1]
    )
    mean = torch.from_numpy(shares).to(gradients) @ gradients
    d = curvature.scaled_damping(mean) if damping is None else damping
    system = System(
        gradients,
        d,
        steps=steps,
        tolerance=tolerance,
        start=start,
        preconditioner_rows=preconditioner_rows,
        preconditioner_steps=preconditioner_steps,
    )
    solved = solve_cg(curvature, system) if solver == "cg" else solve_ekfac(curvature, system)
    along = Along(
        student,
        solved.x,
        log_targets.shape[1],
        temperature,
        two_heads=curvature.row_weights.ndim > 1,
        row_loss=row_loss,
        derivative=derivative,
    )
    sheet = along.sheet(len(features), log_targets, room)
    if elsewhere is None:
        along.write(sheet, features, log_targets, room)
    else:
        elsewhere(along, sheet)
    return sheet.scores(
        shares,
        solution=solved.x,
        residual=float(solved.residuals.max()),
        solver_steps=solved.steps,
        solves_stopped=solved.stopped,
        damping=d,
        gradient_norm=float(mean.norm()),
    )


def _block_gradients(
    student: nn.Module,
    theta: Tensor,
    features: Tensor,
    labels: Tensor,
    cuts: list[NDArray[np.int64]],
    collective: Collective,
    n_classes: int,
) -> Tensor:
    """Gradient of the mean cross-entropy of each block, `[K, P]`.

    One forward pass, and one backward pass per block, over runs of rows.
    """
    weights = torch.zeros(len(cuts), len(features), dtype=theta.dtype)
    for of_block, cut in zip(weights, cuts, strict=True):
        of_block[torch.from_numpy(cut)] = 1 / len(cut)
    weights = weights.to(features.device)
    gradients = torch.zeros(len(cuts), len(theta), dtype=theta.dtype, device=features.device)
    runs = torch.split(torch.arange(len(features), device=features.device), rows_at_once(student, features))
    for rows in runs[collective.share(len(runs))]:
        logits, transposed = linearise(logits_of(student, features[rows]), theta)
        predicting, _ = predicting_and_taught(logits, n_classes)
        errors = torch.softmax(predicting, dim=1) - functional.one_hot(labels[rows], n_classes).to(logits.dtype)
        errors = functional.pad(errors, (0, logits.shape[1] - n_classes))
        for gradient, of_block in zip(gradients, weights[:, rows], strict=True):
            if bool(of_block.any()):
                gradient += transposed(of_block[:, None] * errors)
    collective.total(gradients)
    return gradients
