"""Which rows of V a row of U helps or harms: influence pair by pair, through the last layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kdaif.influence.curvature import Curvature
from kdaif.influence.row_gradients import RowLoss, logit_gradients
from kdaif.linalg import head_curvature, head_rows

_PAIRS_PER_PASS = 2**22


@dataclass(frozen=True, eq=False)
class PairInfluence:
    """The rows of V that each row moves most.

    Attributes:
        helped: row numbers of V, int64 `[N, k]`, those whose loss falls most first.
        helped_by: dl_j/dw_i, float32 `[N, k]`; negative.
        harmed: row numbers of V, int64 `[N, k]`, those whose loss rises most first.
        harmed_by: dl_j/dw_i, float32 `[N, k]`; positive.
    """

    helped: NDArray[np.int64]
    helped_by: NDArray[np.float32]
    harmed: NDArray[np.int64]
    harmed_by: NDArray[np.float32]


def pair_influence(
    student: nn.Module,
    curvature: Curvature,
    features: Tensor,
    log_targets: Tensor,
    validation_features: Tensor,
    validation_labels: Tensor,
    *,
    temperature: float,
    damping: float,
    most: int,
    row_loss: RowLoss | None = None,
) -> PairInfluence:
    """-g_j^T (H + d I)^-1 grad l_i of the last layer's parameters, for all pairs; the ``most`` extreme ones are kept.

    In the eigenbasis of H, H = Q diag(e) Q^T, both gradients are outer products, so a pair costs one sum over C I
    numbers and no solve: sum_ci (Q_o^T e_j)_c (Q_i^T a_j)_i (Q_o^T r_i)_c (Q_i^T a_i)_i / (e_ci + d).

    Args:
        student: in eval mode, at the parameters of `curvature`.
        curvature: its rows are those of H.
        features: raw rows, `[N, ...]`.
        log_targets: log q^T, `[N, C]`.
        validation_features: raw rows of V, `[M, ...]`.
        validation_labels: int64 `[M]`.
        temperature: T.
        damping: d.
        most: k, cut to M.
        row_loss: l; None is T^2 KL(q^T || p^T).
    """
    matrix = head_curvature(head_rows(student, curvature.features), curvature.row_weights, curvature.temperatures)
    held_out, rows = head_rows(student, validation_features), head_rows(student, features)
    errors = torch.softmax(held_out.logits, dim=1) - functional.one_hot(validation_labels, held_out.logits.shape[1])
    residuals = logit_gradients(rows.logits, log_targets, temperature, row_loss)
    e, a = errors.double() @ matrix.outputs, held_out.inputs.double() @ matrix.inputs
    r, b = residuals.double() @ matrix.outputs, rows.inputs.double() @ matrix.inputs
    shrunk = 1 / (matrix.eigenvalues + damping)
    k = min(most, len(validation_labels))
    parts = []
    for chosen in torch.split(torch.arange(len(features)), max(1, _PAIRS_PER_PASS // (a.shape[1] * e.shape[1]))):
        # [n, C, I]: the row's gradient after the solve; its product with e_j (x) a_j is two contractions.
        solved = r[chosen][:, :, None] * b[chosen][:, None, :] * shrunk
        influence = -torch.einsum("nci,mc,mi->nm", solved, e, a)
        low, high = influence.topk(k, dim=1, largest=False), influence.topk(k, dim=1)
        parts.append((low.indices, low.values, high.indices, high.values))
    helped, helped_by, harmed, harmed_by = (torch.cat(list(each)).cpu().numpy() for each in zip(*parts, strict=True))
    return PairInfluence(helped, helped_by.astype(np.float32), harmed, harmed_by.astype(np.float32))
