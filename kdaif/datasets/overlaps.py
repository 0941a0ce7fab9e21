"""Keeps the parts apart: no input content is in two of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.part import Part

Hashes = Mapping[str, NDArray[np.uint64]]


def separate(parts: Mapping[str, Part], hashes: Hashes, findings: Findings) -> None:
    """Drops what two parts share from the one that is nearer to training.

    Test keeps all rows, external loses only to test, validation only to these two.

    Args:
        parts: by role; ``validation``, ``test`` and ``external`` only where given.
        hashes: uint64 [N] by role.
        findings: receives a warning for each pair that shared rows, an error when a part has no row left.
    """
    held_out = [role for role in ("test", "external", "validation") if role in parts]
    for role, other in combinations(held_out, 2):
        _drop_shared(other, role, f"{other}_row_in_{role}".upper(), parts, hashes, findings)
    for role in held_out:
        _drop_shared("labeled", role, "TRAINING_ROW_HELD_OUT", parts, hashes, findings)
        _drop_shared("unlabeled", role, "TRAINING_ROW_HELD_OUT", parts, hashes, findings)
    _drop_shared("unlabeled", "labeled", "UNLABELED_ROW_IN_LABELED", parts, hashes, findings)
    for part in parts.values():
        if not part.keep.any():
            findings.refuse(
                "NO_ROWS_LEFT",
                part.field,
                "no row is left: each is unusable or also in another data set; give rows that are neither",
                len(part.keep),
                first_ids(part.ids, np.ones(len(part.keep), dtype=np.bool_)),
            )


def report_repeats(part: Part, hashes: NDArray[np.uint64], findings: Findings) -> None:
    """Tells how many rows of a part repeat the input of an earlier one. They stay."""
    kept = np.flatnonzero(part.keep)
    _, first = np.unique(hashes[kept], return_index=True)
    repeats = part.keep.copy()
    repeats[kept[first]] = False
    if repeats.any():
        findings.info(
            "REPEATED_ROWS",
            part.field,
            "rows repeat the input of an earlier row under another id; each counts",
            int(repeats.sum()),
            first_ids(part.ids, repeats),
        )


def report_contradictions(
    part: Part, hashes: NDArray[np.uint64], labels: NDArray[np.int64], findings: Findings
) -> None:
    """Warns of equal inputs with different labels (int64 [N])."""
    _, group = np.unique(hashes, return_inverse=True)
    group = group.reshape(-1)
    kept = part.keep
    lowest = np.full(len(hashes), np.iinfo(np.int64).max)
    highest = np.full(len(hashes), -1)
    np.minimum.at(lowest, group[kept], labels[kept])
    np.maximum.at(highest, group[kept], labels[kept])
    contradicting = kept & (lowest[group] < highest[group])
    if contradicting.any():
        findings.warn(
            "CONTRADICTING_LABELS",
            part.field,
            "equal inputs carry different labels; decide on one",
            int(contradicting.sum()),
            first_ids(part.ids, contradicting),
        )


def labels_of_twins(
    hashes: NDArray[np.uint64], labeled: Part, labeled_hashes: NDArray[np.uint64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """int64 [N]: the label of the labelled row of equal content, -1 where there is none."""
    kept = np.flatnonzero(labeled.keep)
    known, first = np.unique(labeled_hashes[kept], return_index=True)
    if not len(known):
        return np.full(len(hashes), -1, dtype=np.int64)
    position = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.where(known[position] == hashes, labels[kept[first[position]]], -1)


def _drop_shared(
    role: str, other: str, code: str, parts: Mapping[str, Part], hashes: Hashes, findings: Findings
) -> None:
    part = parts[role]
    shared = part.keep & np.isin(hashes[role], hashes[other][parts[other].keep])
    if shared.any():
        part.keep = part.keep & ~shared
        reason = f"rows have the same input as rows of {parts[other].field}; dropped here, kept there"
        findings.reject(code, part.field, reason, part.ids, shared)
