"""The conjugate gradient method, for several right-hand sides side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solves of A x_k = b_k ended with.

    Attributes:
        x: `[K, P]`, always finite.
        residuals: |b_k - A x_k| / |b_k|, `[K]`; 0 where b_k = 0.
        steps: the most that any of them took.
        stopped: how many ended early on a non-positive curvature or a non-finite value, keeping their last finite x.
    """

    x: Tensor
    residuals: Tensor
    steps: int
    stopped: int


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    right_sides: Tensor,
    *,
    steps: int,
    start: Tensor | None = None,
    tolerance: float = 1e-6,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """Solves A x_k = b_k for a symmetric positive definite A (Hestenes and Stiefel 1952).

    Args:
        product: `[P]` to `[P]`, times A.
        right_sides: b, `[K, P]`.
        steps: the most steps per right-hand side.
        start: `[K, P]`, guesses; one that is worse than zero is dropped, and so are all when the shape differs.
        tolerance: relative residual at which a solve is done.
        preconditioner: `[P]` to `[P]`, times something positive definite and close to A^-1; the closer, the fewer steps
            to the same solution. It need not be linear, as a solve that is stopped early is not: each direction is
            made conjugate to the one before it (Notay 2000).
    """
    starts = start if start is not None and start.shape == right_sides.shape else torch.zeros_like(right_sides)
    solved = [_solve(product, b, x, steps, tolerance, preconditioner) for b, x in zip(right_sides, starts, strict=True)]
    return Solution(
        x=torch.stack([x for x, _, _, _ in solved]),
        residuals=torch.tensor([residual for _, residual, _, _ in solved]),
        steps=max((taken for _, _, taken, _ in solved), default=0),
        stopped=sum(stopped for _, _, _, stopped in solved),
    )


def _solve(
    product: Callable[[Tensor], Tensor],
    right_side: Tensor,
    start: Tensor,
    steps: int,
    tolerance: float,
    preconditioner: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, float, int, bool]:
    """Returns x `[P]`, relative residual, steps taken, whether it had to stop."""
    size = float(right_side.norm())
    if size == 0:
        return torch.zeros_like(right_side), 0.0, 0, False
    x, residual = _starting_point(product, right_side, start)
    squared = residual @ residual
    direction = residual if preconditioner is None else preconditioner(residual)
    along = residual @ direction  # r^T M r, which is |r|^2 without a preconditioner
    for taken in range(steps):
        if float(squared) <= (tolerance * size) ** 2:
            return x, float(squared.sqrt()) / size, taken, False
        image = product(direction)
        curvature = direction @ image
        step = along / curvature
        next_x, next_residual = x + step * direction, residual - step * image
        next_squared = next_residual @ next_residual
        # One comparison and so one wait for the device; NaN and infinity in any entry reach these sums.
        sound = (along > 0) & (curvature > 0) & torch.isfinite(next_squared) & torch.isfinite(next_x.sum())
        if not bool(sound):
            return x, float(squared.sqrt()) / size, taken, True
        x, residual, squared = next_x, next_residual, next_squared
        if taken + 1 == steps:
            break  # a preconditioner may cost as much as a product
        if preconditioner is None:
            next_along = residual @ residual
            direction, along = residual + (next_along / along) * direction, next_along
        else:
            turned = preconditioner(residual)
            along = residual @ turned
            direction = turned - (turned @ image / curvature) * direction
    return x, float(squared.sqrt()) / size, steps, False


def _starting_point(product: Callable[[Tensor], Tensor], right_side: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    if not bool(start.any()):
        return torch.zeros_like(right_side), right_side
    residual = right_side - product(start)
    if bool(residual.norm() < right_side.norm()):  # false for NaN too
        return start, residual
    return torch.zeros_like(right_side), right_side
