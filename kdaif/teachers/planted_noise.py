"""Wrong soft targets, planted on purpose so that a rehearsal can count how many are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdaif.records.teachers import PlantedNoise


def plant_noise(
    logits: NDArray[np.float32], noise: PlantedNoise, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Swaps the winning logit with another class's in a share of the rows, so that confidence stays what it was.

    `class_swap` exchanges class c with c + 1 (cyclic), a consistent confusion that a student can learn; `symmetric`
    exchanges it with a random other class.

    Args:
        logits: float32 `[N, C]`.
        noise: kind, and the share of rows, rounded to whole rows.
        seed: chooses the rows.

    Returns:
        The new logits `[N, C]`, and which rows were touched, bool `[N]`.
    """
    n_rows, n_classes = logits.shape
    generator = np.random.default_rng((seed, 4))
    rows = generator.permutation(n_rows)[: round(noise.share * n_rows)]
    winner = logits[rows].argmax(axis=1)
    offset = np.ones(len(rows), dtype=np.int64)
    if noise.kind == "symmetric":
        offset = generator.integers(1, n_classes, size=len(rows))
    other = (winner + offset) % n_classes
    swapped = logits.copy()
    swapped[rows, winner], swapped[rows, other] = logits[rows, other], logits[rows, winner]
    planted = np.zeros(n_rows, dtype=np.bool_)
    planted[rows] = True
    return swapped, planted
