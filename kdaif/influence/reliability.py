"""Do two halves of the score set rank the rows alike?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdaif.ranks import average_ranks

MOST_RANKED_ROWS = 200_000
"""Of more rows a sample of so many is ranked. Its rank correlation r has a standard error of about (1 - r^2) / 450."""


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two `[N]`, ties averaged; 0 where either is constant and so ranks nothing."""
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def ranked_rows(n_rows: int) -> NDArray[np.int64]:
    """Which rows are ranked, ascending: all, or `MOST_RANKED_ROWS` drawn without regard to anything else."""
    if n_rows <= MOST_RANKED_ROWS:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng((n_rows, 8)).choice(n_rows, MOST_RANKED_ROWS, replace=False))
