"""Keeps the parts apart: no input content is in two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.hashing import is_among
from kdaif.datasets.part import Part

_ROWS_AT_ONCE = 1_000_000
_RUN_ROWS = 65_536


def separate(parts: Mapping[str, Part], findings: Findings) -> None:
    """Drops what two parts share from the one that is nearer to training.

    Test keeps all rows, external loses only to test, validation only to these two.

    Args:
        parts: by role; ``validation``, ``test`` and ``external`` only where given.
        findings: receives a warning for each pair that shared rows, an error when a part has no row left.
    """
    held_out = [role for role in ("test", "external", "validation") if role in parts]
    for role, other in combinations(held_out, 2):
        _drop_shared(other, role, f"{other}_row_in_{role}".upper(), parts, findings)
    for role in held_out:
        _drop_shared("labeled", role, "TRAINING_ROW_HELD_OUT", parts, findings)
        _drop_shared("unlabeled", role, "TRAINING_ROW_HELD_OUT", parts, findings)
    _drop_shared("unlabeled", "labeled", "UNLABELED_ROW_IN_LABELED", parts, findings)
    for part in parts.values():
        if not part.keep.any():
            findings.refuse(
                "NO_ROWS_LEFT",
                part.field,
                "no row is left: each is unusable or also in another data set; give rows that are neither",
                len(part.keep),
                first_ids(part.ids, np.ones(len(part.keep), dtype=np.bool_)),
            )


def report_repeats(part: Part, findings: Findings) -> None:
    """Tells how many rows of a part repeat the input of an earlier one. They stay."""
    repeats = part.keep.copy()
    for kept in _by_content(part):
        _, first = np.unique(part.hashes[kept], return_index=True)
        repeats[kept[first]] = False
    if repeats.any():
        findings.info(
            "REPEATED_ROWS",
            part.field,
            "rows repeat the input of an earlier row under another id; each counts",
            int(repeats.sum()),
            first_ids(part.ids, repeats),
        )


def report_contradictions(part: Part, labels: NDArray[np.int32], findings: Findings) -> None:
    """Warns of equal inputs with different labels (int32 [N])."""
    contradicting = np.zeros(len(labels), dtype=np.bool_)
    for kept in _by_content(part):
        _, group = np.unique(part.hashes[kept], return_inverse=True)
        group = group.reshape(-1)
        lowest = np.full(len(kept), np.iinfo(np.int32).max)
        highest = np.full(len(kept), -1)
        np.minimum.at(lowest, group, labels[kept])
        np.maximum.at(highest, group, labels[kept])
        contradicting[kept] = lowest[group] < highest[group]
    if contradicting.any():
        findings.warn(
            "CONTRADICTING_LABELS",
            part.field,
            "equal inputs carry different labels; decide on one",
            int(contradicting.sum()),
            first_ids(part.ids, contradicting),
        )


def labels_of_twins(hashes: NDArray[np.uint64], labeled: Part, labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """int32 [N]: the label of the labelled row of equal content, -1 where there is none.

    Args:
        hashes: uint64 [N].
        labeled: the M labelled rows.
        labels: int32 [M].
    """
    kept = np.flatnonzero(labeled.keep)
    known, first = np.unique(labeled.hashes[kept], return_index=True)
    found = np.full(len(hashes), -1, dtype=np.int32)
    twins = np.flatnonzero(is_among(hashes, known))
    found[twins] = labels[kept[first[np.searchsorted(known, hashes[twins])]]]
    return found


def _by_content(part: Part) -> Iterator[NDArray[np.int64]]:
    """Positions of the kept rows, ascending, some million at a time: rows of equal content come together."""
    shares = -(-len(part.keep) // _ROWS_AT_ONCE)
    if shares < 2:
        yield np.flatnonzero(part.keep)
        return
    share_of = np.empty(len(part.hashes), dtype=np.uint16)
    for start in range(0, len(share_of), _RUN_ROWS):
        share_of[start : start + _RUN_ROWS] = part.hashes[start : start + _RUN_ROWS] % np.uint64(shares)
    for share in range(shares):
        yield np.flatnonzero((share_of == share) & part.keep)


def _drop_shared(role: str, other: str, code: str, parts: Mapping[str, Part], findings: Findings) -> None:
    part, keeper = parts[role], parts[other]
    shared = part.keep & is_among(part.hashes, np.sort(keeper.hashes[keeper.keep]))
    if shared.any():
        part.keep = part.keep & ~shared
        reason = f"rows have the same input as rows of {keeper.field}; dropped here, kept there"
        findings.reject(code, part.field, reason, part.ids, shared)
