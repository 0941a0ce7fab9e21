"""Two ways to v = (H + d I)^-1 g, each from a curvature and a system to a solution with its true residual."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdaif.influence.curvature import Curvature
from kdaif.linalg import Solution, conjugate_gradient, ekfac


@dataclass(frozen=True, eq=False)
class System:
    """What is to be solved, and how hard to try.

    Attributes:
        gradients: g_k, `[K, P]`.
        damping: d.
        steps: of conjugate gradient; the closed forms take none.
        tolerance: relative residual at which conjugate gradient is done.
        start: an earlier solution for conjugate gradient to go on from, `[K, P]`.
    """

    gradients: Tensor
    damping: float
    steps: int
    tolerance: float
    start: Tensor | None


def solve_cg(curvature: Curvature, system: System) -> Solution:
    """Conjugate gradient on products with H: exact when run to the end, and smoothed by stopping early."""
    return conjugate_gradient(
        lambda vector: curvature.product(vector) + system.damping * vector,
        system.gradients,
        steps=system.steps,
        start=system.start,
        tolerance=system.tolerance,
    )


def solve_ekfac(curvature: Curvature, system: System) -> Solution:
    """EK-FAC with the exact Fisher, its factors made anew from the student as it is.

    Parameters outside Linear and Conv2d layers (BatchNorm) get a multiple of the identity: the curvature of H along
    their part of the mean gradient.
    """
    try:
        factors = ekfac(curvature.student, curvature.features, curvature.row_weights, curvature.temperatures)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # No eigenvectors: moments that are not finite, or LAPACK gave up.
        return _measured(curvature, system, torch.full_like(system.gradients, torch.nan))
    along = system.gradients.mean(dim=0) * factors.rest
    squared = float(along @ along)
    rest_curvature = float(along @ curvature.product(along)) / squared if squared > 0 else 0.0
    return _measured(curvature, system, factors.solve(system.gradients, system.damping, max(rest_curvature, 0.0)))


def _measured(curvature: Curvature, system: System, x: Tensor) -> Solution:
    """With residuals of the whole H, whatever part of it was solved; a solution that is not finite becomes 0."""
    finite = torch.isfinite(x).all(dim=1)
    x = torch.where(finite[:, None], x, 0.0)
    images = torch.stack([curvature.product(vector) for vector in x]) + system.damping * x
    sizes = system.gradients.norm(dim=1)
    residuals = torch.where(sizes > 0, (system.gradients - images).norm(dim=1) / sizes, 0.0)
    return Solution(x, residuals, steps=0, stopped=int((~finite).sum()))
