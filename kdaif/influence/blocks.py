"""Influence on each of K blocks of the score set, and what their agreement says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kdaif.influence.reliability import rank_correlation

_HALVINGS = 8


@dataclass(frozen=True, eq=False)
class InfluenceScores:
    """Influence of N rows on K blocks of V, and how the solves went.

    Attributes:
        per_block: dL_k/dw_i, float64 `[K, N]`, with L_k the mean loss of block k. Negative helps, positive harms.
        shares: rows of each block over all rows of V, float64 `[K]`.
        logits: the student's on the N rows, float32 `[N, C]`, in eval mode; a by-product of the forward pass.
        solution: v_k = (H + d I)^-1 g_k per block, `[K, P]`, to start the next round's solves from; None where the
            solver has no use for it.
        residual: relative residual |g - (H + d I) v| / |g|: the largest of the blocks', or of the mean for ``head``.
        solver_steps: conjugate-gradient steps taken; 0 for a closed form.
        solves_stopped: how many solves ended on a non-positive curvature or a non-finite value.
        damping: d.
    """

    per_block: NDArray[np.float64]
    shares: NDArray[np.float64]
    logits: NDArray[np.float32]
    solution: Tensor | None
    residual: float
    solver_steps: int
    solves_stopped: int
    damping: float

    @property
    def influence(self) -> NDArray[np.float64]:
        """dL_val/dw_i, `[N]`: the mean over blocks, weighted by size."""
        return self.shares @ self.per_block

    @property
    def reliability(self) -> float:
        """Spearman correlation of the scores from two halves of the blocks, -1 to 1, the mean over some random halves.

        0 for a single block.
        """
        half = len(self.per_block) // 2
        if not half:
            return 0.0
        generator = np.random.default_rng(0)
        halves = [generator.permutation(len(self.per_block)) for _ in range(_HALVINGS)]
        return float(np.mean([self._correlation(order[:half], order[half:]) for order in halves]))

    def _correlation(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
        return rank_correlation(self.per_block[first].mean(0), self.per_block[second].mean(0))


def block_stderr(per_block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of the mean over K blocks, `[N]`: how much of a score is luck of V. Zeros for a single block."""
    n_blocks = len(per_block)
    if n_blocks < 2:
        return np.zeros(per_block.shape[1])
    return np.asarray(per_block.std(axis=0, ddof=1) / np.sqrt(n_blocks))


def cut_into_blocks(n: int, blocks: int, seed: int) -> list[NDArray[np.int64]]:
    """Row numbers of V, int64, in K blocks of equal size up to one; fewer than K where V is smaller."""
    order = np.random.default_rng((seed, 3)).permutation(n)
    return np.array_split(order, min(blocks, n))


def shares_of(cuts: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Size of each block over all rows, `[K]`."""
    sizes = np.array([len(cut) for cut in cuts], dtype=np.float64)
    return np.asarray(sizes / sizes.sum())
