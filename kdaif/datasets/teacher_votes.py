"""Classes that a teacher named, or the votes of several, as soft targets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.findings import IDS_SHOWN, Findings, first_ids
from kdaif.datasets.labels import holds_names, read_names
from kdaif.datasets.matrices import is_list


class Ballot:
    """A column of class names, or of lists of them, counted run by run.

    A null, in a list or in place of one, is an abstention: no vote. Any other value names a class, -1 too.

    Args:
        class_names: C names.
        label_smoothing: s, at least 0 and below 1.
        rows: M, of the column.
    """

    def __init__(self, class_names: tuple[str, ...], label_smoothing: float, rows: int) -> None:
        self._class_names = class_names
        self._label_smoothing = label_smoothing
        self._unknown: Counter[str] = Counter()
        self._holds_unknown = np.zeros(rows, dtype=np.bool_)

    def count(
        self, run: slice, votes: pa.Array, asked: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Smoothed shares of the votes: ``(1 - s) * votes_c / votes + s / C`` (Szegedy et al. 2016, eq. 7).

        Args:
            run: the places of B rows.
            votes: [B] names, or lists of them.
            asked: bool [B], rows that belong to a row of the job; names of the others are not looked at.

        Returns:
            float32 [B, C], NaN where nobody voted; bool [B], where that is.
        """
        rows = np.arange(len(votes))
        if is_list(votes.type):
            rows = np.asarray(pc.list_parent_indices(votes).to_numpy(zero_copy_only=False), dtype=np.int64)
            votes = pc.list_flatten(votes)
        names = read_names([(slice(None), votes)], len(votes))
        given = names.classes(self._class_names)
        foreign = (given < 0) & ~names.null & asked[rows]
        self._unknown.update(names.at(np.flatnonzero(foreign)).tolist())
        self._holds_unknown[run.start + rows[foreign]] = True
        counts = np.zeros((len(asked), len(self._class_names)))
        np.add.at(counts, (rows[given >= 0], given[given >= 0]), 1)
        total = counts.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            shares = (1 - self._label_smoothing) * counts / total + self._label_smoothing / len(self._class_names)
        return shares.astype(np.float32), total[:, 0] == 0

    def refused(self, ids: pa.Array, field: str, findings: Findings) -> bool:
        """Refuses names that are no classes, the ten most frequent of them with their counts.

        Args:
            ids: [M].
            field: what findings about the data set call it.
            findings: receives the error.

        Returns:
            Whether there were any.
        """
        if self._unknown:
            shown = ", ".join(f"{name!r} ({count} times)" for name, count in self._unknown.most_common(IDS_SHOWN))
            more = f" and {len(self._unknown) - IDS_SHOWN} more" if len(self._unknown) > IDS_SHOWN else ""
            findings.refuse(
                "TEACHER_UNKNOWN_CLASS",
                field,
                f"'teacher_label' holds {shown}{more}, not among the classes; correct them, list all classes in "
                "spec.class_names, or store null where the teacher abstains",
                int(self._holds_unknown.sum()),
                first_ids(ids, self._holds_unknown),
            )
        return bool(self._unknown)


def holds_votes(type_: pa.DataType) -> bool:
    """Whether a column of this type can be counted."""
    return holds_names(type_.value_type if is_list(type_) else type_)
