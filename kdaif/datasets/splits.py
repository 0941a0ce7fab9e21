"""Sets rows aside: stratified by class, and the same for the same rows and seed whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.hashing import scrambled


def split(
    hashes: NDArray[np.uint64], labels: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Divides rows among parts; rows of equal content stay together.

    Args:
        hashes: uint64 [N], content of each row.
        labels: int64 [N], class of each row.
        shares: share of each part, summing to 1. Where a class has fewer rows than there are parts, the first parts
            are served first.
        seed: another seed, another division.

    Returns:
        Ascending row positions, int64, by part.
    """
    distinct, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    class_of_group = labels[first]
    order = scrambled(distinct, seed)
    part_of_group = np.empty(len(distinct), dtype=np.int64)
    for label in np.unique(class_of_group):
        members = np.flatnonzero(class_of_group == label)
        members = members[np.argsort(order[members])]
        counts = apportion(len(members), list(shares.values()))
        part_of_group[members] = np.repeat(np.arange(len(counts)), counts)
    return {name: np.flatnonzero(part_of_group[group] == position) for position, name in enumerate(shares)}


def apportion(rows: int, shares: Sequence[float]) -> list[int]:
    """Whole rows by share: at least one for each part while there are enough, the rest by largest remainder."""
    if rows < len(shares):
        return [1 if position < rows else 0 for position in range(len(shares))]
    exact = [rows * share for share in shares]
    counts = [max(1, int(wanted)) for wanted in exact]
    while sum(counts) < rows:
        counts[max(range(len(shares)), key=lambda part: exact[part] - counts[part])] += 1
    while sum(counts) > rows:
        spare = [part for part in range(len(shares)) if counts[part] > 1]
        counts[max(spare, key=lambda part: counts[part] - exact[part])] -= 1
    return counts
