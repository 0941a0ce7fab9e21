"""Wrong soft targets, planted on purpose so that a rehearsal can count how many are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdaif.records.teachers import PlantedNoise
from kdaif.scratch import Scratch
from kdaif.top_classes import Logits, TopClasses


def plant_noise(
    logits: Logits, noise: PlantedNoise, seed: int, scratch: Scratch | None = None
) -> tuple[Logits, NDArray[np.bool_]]:
    """Swaps the winning logit with another class's in a share of the rows, so that confidence stays what it was.

    `class_swap` exchanges class c with c + 1 (cyclic), a consistent confusion that a student can learn; `symmetric`
    exchanges it with a random other class.

    Args:
        logits: float32 `[N, C]`.
        noise: kind, and the share of rows, rounded to whole rows.
        seed: chooses the rows.
        scratch: for the new logits; None keeps them in memory.

    Returns:
        The new logits `[N, C]`, and which rows were touched, bool `[N]`.
    """
    n_rows, n_classes = logits.shape
    generator = np.random.default_rng((seed, 4))
    rows = generator.permutation(n_rows)[: round(noise.share * n_rows)]
    offset = np.ones(len(rows), dtype=np.int64)
    if noise.kind == "symmetric":
        offset = generator.integers(1, n_classes, size=len(rows))
    planted = np.zeros(n_rows, dtype=np.bool_)
    planted[rows] = True
    # In the order of the rows, so that slabs can be worked on one after the other.
    offsets = np.zeros(n_rows, dtype=np.int32)
    offsets[rows] = offset
    room = Scratch() if scratch is None else scratch
    if isinstance(logits, TopClasses):
        return _swapped(logits, planted, offsets, room), planted
    swapped: NDArray[np.float32] = room.empty(logits.shape, np.float32)
    for slab in room.slabs(n_rows, 3 * 4 * n_classes + 32):
        swapped[slab] = logits[slab]
        _swap(swapped[slab], np.flatnonzero(planted[slab]), offsets[slab])
    return swapped, planted


def _swapped(
    logits: TopClasses, planted: NDArray[np.bool_], offsets: NDArray[np.int32], scratch: Scratch
) -> TopClasses:
    found = logits.copy(scratch)
    for slab in scratch.slabs(len(logits), 3 * 4 * logits.n_classes):
        rows = slab.start + np.flatnonzero(planted[slab])
        winner = logits[rows].argmax(axis=1)
        found.swap(rows, winner, (winner + offsets[rows]) % logits.n_classes)
    return found


def _swap(logits: NDArray[np.float32], rows: NDArray[np.int64], offsets: NDArray[np.int32]) -> None:
    """The winner of each of these rows changes places with the class so many further on."""
    winner = logits[rows].argmax(axis=1)
    other = (winner + offsets[rows]) % logits.shape[1]
    logits[rows, winner], logits[rows, other] = logits[rows, other], logits[rows, winner]
