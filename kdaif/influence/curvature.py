"""The Gauss-Newton matrix of the objective J at the student's parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdaif.collective import SOLO, Collective
from kdaif.linalg import gauss_newton, gauss_newton_once, logits_of, parameter_vector, rows_at_once, rows_to_keep
from kdaif.records.spec import Training
from kdaif.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Curvature:
    """H at the student's parameters.

    Attributes:
        student: in eval mode, and left as it is for as long as this is used.
        features: the rows of H, raw, `[M, ...]`.
        row_weights: what each adds to H, `[M]`; `[M, 2]` where the student has two heads: what it adds at each.
        temperatures: 1 for rows of L, T for rows of U, `[M]`; `[M, 2]` of two heads.
        collective: the processes that share the runs of rows of a product.
    """

    student: nn.Module
    features: Tensor
    row_weights: Tensor
    temperatures: Tensor
    collective: Collective = SOLO

    @cached_property
    def theta(self) -> Tensor:
        """The student's parameters, `[P]`."""
        return parameter_vector(self.student)

    @cached_property
    def product(self) -> Callable[[Tensor], Tensor]:
        """V `[P]` -> H v, without damping, by runs of rows.

        Linearises the student at the first call, for as many rows as memory allows.
        """
        at_once, kept = rows_at_once(self.student, self.features), rows_to_keep(self.student, self.features)
        at_once = min(at_once, max(1, -(-len(self.features) // self.collective.size)))
        parts = (torch.split(tensor, at_once) for tensor in (self.features, self.row_weights, self.temperatures))
        runs = [(logits_of(self.student, rows), self.theta, c, t) for rows, c, t in zip(*parts, strict=True)]
        runs = runs[self.collective.share(len(runs))]
        n_kept = kept // at_once
        linearised = [gauss_newton(*run) for run in runs[:n_kept]]

        def product(vector: Tensor) -> Tensor:
            total = torch.zeros_like(vector)
            for of_run in linearised:
                total += of_run(vector)
            for run in runs[n_kept:]:
                total += gauss_newton_once(*run, vector)
            self.collective.total(total)
            return total

        return product

    def subsample(self, rows: int) -> Curvature:
        """The same H from at most so many of its rows, evenly spaced and weighted up to the same total."""
        if len(self.features) <= rows:
            return self
        at = torch.linspace(0, len(self.features) - 1, rows, device=self.row_weights.device).long()
        weights = self.row_weights[at]
        scaled = weights * (self.row_weights.sum() / weights.sum().clamp_min(1e-30))
        return Curvature(self.student, self.features[at], scaled, self.temperatures[at], self.collective)

    def scaled_damping(self, gradient: Tensor) -> float:
        """Damping d = 0.1 * (g^T H g) / (g^T g): a tenth of the curvature along g `[P]`."""
        squared = float(gradient @ gradient)
        if squared == 0:
            return 1.0
        along = float(gradient @ self.product(gradient))
        # A saturated network has no curvature at all; the solve then needs some damping to mean anything.
        return max(0.1 * along / squared, 1e-6)


def curvature_at(
    student: nn.Module,
    labeled_features: Tensor,
    unlabeled_features: Tensor,
    weights: Tensor,
    *,
    training: Training,
    rows: int,
    seed: int,
    workspace: Workspace | None = None,
) -> Curvature:
    """H = hard_label_weight * mean_L G_i + soft_label_weight * sum_U(w_i G_i) / sum_U(w_i), on a subsample of L and U.

    G_i = J_i^T (diag p_i - p_i p_i^T) J_i, with p_i at temperature 1 on L and T on U (see `gauss_newton`). For
    losses of U other than T^2 KL(q^T || p^T) of the logits as they are, this stands in for their own curvature, which
    need not be positive: it sets the metric in which gradients, always those of the loss that is trained, are compared.

    Args:
        student: in eval mode; its two heads side by side where `training.dual_head`, of which rows of L count at the
            first and those of U at the second.
        labeled_features: raw rows of L, `[M, ...]`.
        unlabeled_features: raw rows of U, `[N, ...]`.
        weights: w, `[N]`.
        training: the objective's weights and temperature.
        rows: the most rows in the subsample; at most half of them from L.
        seed: of the subsample.
        workspace: of the rows; None where all are in memory.
    """
    generator = np.random.default_rng((seed, 2))
    device, dtype = weights.device, next(student.parameters()).dtype
    room = Workspace(device) if workspace is None else workspace
    from_labeled = _subsample(len(labeled_features), max(1, rows // 2), generator)
    from_unlabeled = _subsample(len(unlabeled_features), max(1, rows - len(from_labeled)), generator)
    soft = room.take(weights, from_unlabeled).to(dtype)
    soft = training.soft_label_weight * soft / soft.sum().clamp_min(1e-8)
    hard = torch.full((len(from_labeled),), training.hard_label_weight / len(from_labeled), device=device, dtype=dtype)
    temperatures = torch.cat([torch.ones_like(hard), torch.full_like(soft, training.temperature)])
    weights_of_rows = torch.cat([hard, soft])
    if training.dual_head:
        temperatures = temperatures[:, None].expand(-1, 2)
        at_head = torch.zeros(len(temperatures), 2, device=device, dtype=dtype)
        at_head[: len(hard), 0], at_head[len(hard) :, 1] = hard, soft
        weights_of_rows = at_head
    features = torch.cat([room.take(labeled_features, from_labeled), room.take(unlabeled_features, from_unlabeled)])
    return Curvature(student, features, weights_of_rows, temperatures, room.collective)


def _subsample(n: int, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    return np.sort(generator.choice(n, size=most, replace=False))
