"""Two ways to v = (H + d I)^-1 g, each from a curvature and a system to a solution with its true residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdaif.influence.curvature import Curvature
from kdaif.linalg import Ekfac, Solution, conjugate_gradient, ekfac

# Of the trace of EK-FAC's Fisher. Measured on the networks of `make bench-influence`: five or six backward passes
# instead of ten, and ranks within .003 of those with none left out.
_LEFT_OUT = 0.1


@dataclass(frozen=True, eq=False)
class System:
    """What is to be solved, and how hard to try.

    Attributes:
        gradients: g_k, `[K, P]`.
        damping: d.
        steps: of conjugate gradient; the closed forms take none.
        tolerance: relative residual at which conjugate gradient is done.
        start: an earlier solution for conjugate gradient to go on from, `[K, P]`.
        preconditioner_rows: of H, from which the EK-FAC is made that conjugate gradient is preconditioned with; 0 is
            none.
        preconditioner_steps: of conjugate gradient on those rows alone, which are the preconditioner then; 0 is the
            EK-FAC itself.
    """

    gradients: Tensor
    damping: float
    steps: int
    tolerance: float
    start: Tensor | None
    preconditioner_rows: int = 0
    preconditioner_steps: int = 0


def solve_cg(curvature: Curvature, system: System) -> Solution:
    """Conjugate gradient on products with H: exact when run to the end, and smoothed by stopping early.

    An EK-FAC of few rows is a poor H but a good preconditioner: ranks agree with the exact ones at .95 in a seventh
    to a quarter of the steps, though the last digits of the solution then take more.
    """
    return conjugate_gradient(
        lambda vector: curvature.product(vector) + system.damping * vector,
        system.gradients,
        steps=system.steps,
        start=system.start,
        tolerance=system.tolerance,
        preconditioner=_preconditioner(curvature, system) if system.preconditioner_rows else None,
    )


def _preconditioner(curvature: Curvature, system: System) -> Callable[[Tensor], Tensor] | None:
    """Times (EKFAC + d I)^-1, or some steps towards (H_few + d I)^-1; None where there is no finite one."""
    few = curvature.subsample(system.preconditioner_rows)
    basis = few.subsample(system.preconditioner_rows // 2) if system.preconditioner_steps else few
    try:
        factors = _factors(basis)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    rest_curvature = _rest_curvature(basis, factors, system)

    def times(vector: Tensor) -> Tensor:
        return factors.solve(vector[None], system.damping, rest_curvature)[0]

    if not bool(torch.isfinite(times(system.gradients[0])).all()):
        return None
    if not system.preconditioner_steps:
        return times

    def solve(vector: Tensor) -> Tensor:
        return conjugate_gradient(
            lambda given: few.product(given) + system.damping * given,
            vector[None],
            steps=system.preconditioner_steps,
            tolerance=system.tolerance,
            preconditioner=times,
        ).x[0]

    return solve


def solve_ekfac(curvature: Curvature, system: System) -> Solution:
    """EK-FAC with the exact Fisher, its factors made anew from the student as it is.

    Parameters outside Linear and Conv2d layers (BatchNorm) get a multiple of the identity: the curvature of H along
    their part of the mean gradient.
    """
    try:
        factors = _factors(curvature)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        # No eigenvectors: moments that are not finite, or LAPACK gave up.
        return _measured(curvature, system, torch.full_like(system.gradients, torch.nan))
    rest_curvature = _rest_curvature(curvature, factors, system)
    return _measured(curvature, system, factors.solve(system.gradients, system.damping, rest_curvature))


def _factors(curvature: Curvature) -> Ekfac:
    return ekfac(
        curvature.student,
        curvature.features,
        curvature.row_weights,
        curvature.temperatures,
        left_out=_LEFT_OUT,
    )


def _rest_curvature(curvature: Curvature, factors: Ekfac, system: System) -> float:
    """Of H along the mean gradient's part in no block."""
    along = system.gradients.mean(dim=0) * factors.rest
    squared = float(along @ along)
    return max(float(along @ curvature.product(along)) / squared, 0.0) if squared > 0 else 0.0


def _measured(curvature: Curvature, system: System, x: Tensor) -> Solution:
    """With residuals of the whole H, whatever part of it was solved; a solution that is not finite becomes 0."""
    finite = torch.isfinite(x).all(dim=1)
    x = torch.where(finite[:, None], x, 0.0)
    images = torch.stack([curvature.product(vector) for vector in x]) + system.damping * x
    sizes = system.gradients.norm(dim=1)
    residuals = torch.where(sizes > 0, (system.gradients - images).norm(dim=1) / sizes, 0.0)
    return Solution(x, residuals, steps=0, stopped=int((~finite).sum()))
