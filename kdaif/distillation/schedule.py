"""Which rows each optimiser step of a round sees, and at which learning rate.

Functions of the seed and the round alone, so that every arm of a seed sees the same rows in the same order, and a
resumed round is the interrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.records.spec import Training


@dataclass(frozen=True, eq=False)
class Step:
    """Row numbers of one step, int64: `labeled` `[M]` into L, `unlabeled` `[N]` into U."""

    labeled: NDArray[np.int64]
    unlabeled: NDArray[np.int64]


def round_schedule(
    n_labeled: int,
    n_unlabeled: int,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    round_number: int,
    balanced_labels: NDArray[np.int64] | None = None,
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
        balanced_labels: of L, `[n_labeled]`; each class among them then comes equally often. None: each row does.
    """
    generator = np.random.default_rng((seed, round_number))
    labeled_order = np.random.default_rng((seed, round_number, 1))
    labeled_batch = max(2, min(batch_size, n_labeled))
    labeled_batches = (
        _cycle(n_labeled, labeled_batch, labeled_order)
        if balanced_labels is None
        else _balanced_cycle(balanced_labels, labeled_batch, labeled_order)
    )
    return [
        Step(labeled=next(labeled_batches), unlabeled=rows)
        for _ in range(epochs)
        for rows in _batches(generator.permutation(n_unlabeled), batch_size)
    ]


def learning_rates(training: Training, n_steps: int, round_number: int) -> list[float]:
    """Of each step of a round; ``cosine`` falls from the learning rate to 0 over all steps of all rounds.

    Args:
        training: schedule, learning rate and rounds.
        n_steps: of this round and of every other.
        round_number: counted from 1.
    """
    if training.schedule == "constant":
        return [training.learning_rate] * n_steps
    done, total = (round_number - 1) * n_steps, training.rounds * n_steps
    return [training.learning_rate * (1 + math.cos(math.pi * (done + step) / total)) / 2 for step in range(n_steps)]


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


def _balanced_cycle(
    labels: NDArray[np.int64], batch_size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Classes in turn, each turn in a new order, and within a class its rows in turn."""
    rows_of = [np.flatnonzero(labels == code) for code in np.unique(labels)]
    cycles = [_cycle(len(rows), 1, generator) for rows in rows_of]
    classes = _cycle(len(rows_of), batch_size, generator)
    while True:
        yield np.array([rows_of[code][next(cycles[code])[0]] for code in next(classes)], dtype=np.int64)
