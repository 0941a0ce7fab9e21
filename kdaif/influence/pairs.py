"""Which rows of V a row of U helps or harms: influence pair by pair, through the last layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kdaif.influence.curvature import Curvature
from kdaif.influence.head_scores import scaled_damping
from kdaif.linalg import HeadCurvature, HeadRows, head_curvature, head_rows

# Numbers of float64, of which there are some four such arrays at a time: 30 MB.
_PAIRS_PER_PASS = 2**20


@dataclass(frozen=True, eq=False)
class PairInfluence:
    """The rows of V that each of N rows moves most.

    Attributes:
        mean: over all of V, float64 `[N]`.
        helped: row numbers of V, int64 `[N, k]`, those whose loss falls most first.
        helped_by: dl_j/dw_i, float64 `[N, k]`.
        harmed: row numbers of V, int64 `[N, k]`, those whose loss rises most first.
        harmed_by: dl_j/dw_i, float64 `[N, k]`.
    """

    mean: NDArray[np.float64]
    helped: NDArray[np.int64]
    helped_by: NDArray[np.float64]
    harmed: NDArray[np.int64]
    harmed_by: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairSystem:
    """H + d I of the last layer in its eigenbasis, and the gradients of V there.

    In the basis, H = Q diag(e) Q^T with Q = Q_o (x) Q_i, both gradients of a pair are outer products, so a pair costs
    one sum over C I numbers and no solve: sum_ci (Q_o^T e_j)_c (Q_i^T a_j)_i (Q_o^T r_i)_c (Q_i^T a_i)_i / (e_ci + d).

    Attributes:
        matrix: H.
        damping: d.
        errors: Q_o^T e_j of the rows of V, float64 `[M, C]`.
        inputs: Q_i^T a_j, float64 `[M, I]`.
    """

    matrix: HeadCurvature
    damping: float
    errors: Tensor
    inputs: Tensor

    def along(self, gradient: Tensor) -> Tensor:
        """-g_j^T (H + d I)^-1 G for every row of V, float64 `[M]`, of one gradient `[C, I]`."""
        solved = self.matrix.turned(gradient) / (self.matrix.eigenvalues + self.damping)
        return -((self.inputs @ solved.T) * self.errors).sum(dim=1)

    def extremes(
        self, rows: HeadRows, logit_gradients: Tensor, centre: Tensor, scale: float, most: int
    ) -> Iterator[PairInfluence]:
        """dl_j/dw_i = scale (-g_j^T (H + d I)^-1 grad l_i - centre_j), some rows at a time; see `UnitOfWeight`.

        Args:
            rows: what they bring to the last layer, `[N]`.
            logit_gradients: dl_i/dz_i, `[N, C]`.
            centre: of each row of V, float64 `[M]`: `along` the mean gradient of U.
            scale: of the unit of weight.
            most: k, cut to M.
        """
        r = self.matrix.of_outputs(logit_gradients)
        b = rows.inputs.double() @ self.matrix.inputs
        shrunk = 1 / (self.matrix.eigenvalues + self.damping)
        n_classes, k = r.shape[1], min(most, len(self.errors))
        step = max(1, _PAIRS_PER_PASS // (n_classes * max(self.inputs.shape)))
        for start in range(0, len(r), step):
            chosen = slice(start, start + step)
            solved = r[chosen][:, :, None] * b[chosen][:, None, :] * shrunk
            of_classes = (solved.flatten(0, 1) @ self.inputs.T).view(-1, n_classes, len(self.inputs))
            moved = scale * (-(of_classes * self.errors.T).sum(dim=1) - centre)
            low, high = moved.topk(k, dim=1, largest=False), moved.topk(k, dim=1)
            yield PairInfluence(
                moved.mean(dim=1).cpu().numpy(),
                low.indices.cpu().numpy(),
                low.values.cpu().numpy(),
                high.indices.cpu().numpy(),
                high.values.cpu().numpy(),
            )


def pair_system(
    student: nn.Module,
    curvature: Curvature,
    validation_features: Tensor,
    validation_labels: Tensor,
    *,
    damping: float | None,
) -> PairSystem:
    """The system at a student.

    Args:
        student: in eval mode, at the parameters of `curvature`.
        curvature: its rows are those of H.
        validation_features: raw rows of V, `[M, ...]`.
        validation_labels: int64 `[M]`.
        damping: d; None is .03 of the curvature along the mean gradient of V, as `SOLVER_HEAD` has it.

    Raises:
        ValueError: the network does not end in a Linear layer.
        torch.linalg.LinAlgError: the moments of H are not finite.
    """
    matrix = head_curvature(head_rows(student, curvature.features), curvature.row_weights, curvature.temperatures)
    held_out = head_rows(student, validation_features)
    errors = torch.softmax(held_out.logits, dim=1) - functional.one_hot(validation_labels, held_out.logits.shape[1])
    errors, inputs = errors.double(), held_out.inputs.double()
    mean = (errors.T @ inputs / len(inputs))[None]
    d = scaled_damping(matrix, mean, np.ones(1)) if damping is None else damping
    return PairSystem(matrix, d, matrix.of_outputs(errors), inputs @ matrix.inputs)
