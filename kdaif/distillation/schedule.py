"""Which rows each optimiser step of a round sees.

A function of the seed and the round alone, so that every arm of a seed sees the same rows in the same order, and a
resumed round is the interrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Step:
    """Row numbers of one step, int64: `labeled` `[M]` into L, `unlabeled` `[N]` into U."""

    labeled: NDArray[np.int64]
    unlabeled: NDArray[np.int64]


def round_schedule(
    n_labeled: int, n_unlabeled: int, *, batch_size: int, epochs: int, seed: int, round_number: int
) -> list[Step]:
    """Every epoch passes once over U in a new order; L, which is small, is cycled through beside it.

    A last batch of a single row joins the one before it (BatchNorm cannot normalise one row), and a labelled batch
    holds at least two rows even if one has to come twice.

    Args:
        n_labeled: rows of L, at least 1.
        n_unlabeled: rows of U, at least 1.
        batch_size: rows of U per step, and the most rows of L per step.
        epochs: passes over U.
        seed: of the arm.
        round_number: of the round; with the seed it fixes the order.
    """
    generator = np.random.default_rng((seed, round_number))
    labeled_order = np.random.default_rng((seed, round_number, 1))
    labeled_batches = _cycle(n_labeled, max(2, min(batch_size, n_labeled)), labeled_order)
    return [
        Step(labeled=next(labeled_batches), unlabeled=rows)
        for _ in range(epochs)
        for rows in _batches(generator.permutation(n_unlabeled), batch_size)
    ]


def _batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] == 1:
        cuts.pop()
    return np.split(order, cuts)


def _cycle(n_rows: int, batch_size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    waiting = generator.permutation(n_rows)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, generator.permutation(n_rows)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
