"""Which rows each optimiser step of a round sees, and at which learning rate.

Functions of the seed and the round alone, so that every arm of a seed sees the same rows in the same order, and a
resumed round is the interrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdaif.records.spec import Training


@dataclass(frozen=True, eq=False)
class Step:
    """Row numbers of one step, int64: `labeled` `[M]` into L, `unlabeled` `[N]` into U."""

    labeled: NDArray[np.int64]
    unlabeled: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """The steps of a round, in order, made as they are asked for: each pass over them starts anew, and is the same.

    Attributes:
        n_labeled: rows of L.
        n_unlabeled: rows of U.
        batch_size: rows of U per step, and the most rows of L per step.
        epochs: passes over U.
        seed: of the arm.
        round_number: of the round.
        balanced_labels: of L, where each class among them comes equally often.
    """

    n_labeled: int
    n_unlabeled: int
    batch_size: int
    epochs: int
    seed: int
    round_number: int
    balanced_labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.epochs * (1 + len(_cuts(self.n_unlabeled, self.batch_size)))

    def __iter__(self) -> Iterator[Step]:
        generator = np.random.default_rng((self.seed, self.round_number))
        labeled_order = np.random.default_rng((self.seed, self.round_number, 1))
        labeled_batch = max(2, min(self.batch_size, self.n_labeled))
        labeled_batches = (
            _cycle(self.n_labeled, labeled_batch, labeled_order)
            if self.balanced_labels is None
            else _balanced_cycle(self.balanced_labels, labeled_batch, labeled_order)
        )
        for _ in range(self.epochs):
            order = _permutation(self.n_unlabeled, generator)
            cuts = _cuts(self.n_unlabeled, self.batch_size)
            for start, end in zip(chain([0], cuts), chain(cuts, [self.n_unlabeled]), strict=True):
                yield Step(labeled=next(labeled_batches), unlabeled=order[start:end].astype(np.int64))
            del order  # or there would be two of them while the next is made


def round_schedule(
    n_labeled: int,
    n_unlabeled: int,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    round_number: int,
    balanced_labels: NDArray[np.int64] | None = None,
) -> Schedule:
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
    return Schedule(n_labeled, n_unlabeled, batch_size, epochs, seed, round_number, balanced_labels)


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


def _cuts(n_rows: int, batch_size: int) -> range:
    """Where batches begin, but for the first."""
    cuts = range(batch_size, n_rows, batch_size)
    return cuts[:-1] if cuts and n_rows - cuts[-1] == 1 else cuts


def _permutation(n_rows: int, generator: np.random.Generator) -> NDArray[Any]:
    """`generator.permutation(n_rows)`, in half the memory where the numbers are small enough."""
    order = np.arange(n_rows, dtype=np.int32 if n_rows <= np.iinfo(np.int32).max else np.int64)
    generator.shuffle(order)
    return order


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
