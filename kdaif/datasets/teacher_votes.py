"""Classes that a teacher named, or the votes of several, as soft targets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.findings import IDS_SHOWN, Findings, first_ids
from kdaif.datasets.labels import codes, label_text
from kdaif.datasets.matrices import is_list


@dataclass(frozen=True, eq=False)
class Votes:
    """M rows of votes, flat.

    Attributes:
        names: [V] strings, none null.
        rows: int64 [V], the row of each vote.
        count: M.
    """

    names: pa.Array
    rows: NDArray[np.int64]
    count: int


def read_votes(column: pa.ChunkedArray, name: str, field: str, findings: Findings) -> Votes | None:
    """A column of class names, or of lists of them.

    A null, in a list or in place of one, is an abstention: no vote. Any other value names a class, -1 too.

    Args:
        column: [M] strings, integers, whole floats or booleans, or lists of them.
        name: the column's.
        field: what findings about its data set call it.
        findings: receives the error.

    Returns:
        None when the type holds no names.
    """
    names, rows, start = [], [], 0
    try:
        for chunk in column.chunks:
            if is_list(chunk.type):
                values, parents = pa.chunked_array([pc.list_flatten(chunk)]), pc.list_parent_indices(chunk).to_numpy()
            else:
                values, parents = pa.chunked_array([chunk]), np.arange(len(chunk))
            text = label_text(values)
            given = text.is_valid().to_numpy(zero_copy_only=False)
            names.append(text.drop_null())
            rows.append(np.asarray(parents, dtype=np.int64)[given] + start)
            start += len(chunk)
    except TypeError:
        findings.refuse(
            "TEACHER_TYPE",
            field,
            f"{name!r} is {column.type}; store a class name per row (string, integer or boolean), or a list of them",
        )
        return None
    flat = pa.concat_arrays(names) if names else pa.array([], pa.string())
    return Votes(flat, np.concatenate(rows) if rows else np.empty(0, dtype=np.int64), len(column))


def vote_shares(
    votes: Votes,
    used: NDArray[np.bool_],
    class_names: tuple[str, ...],
    label_smoothing: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Counter[str], NDArray[np.bool_]]:
    """Smoothed shares of the votes: ``(1 - s) * votes_c / votes + s / C`` (Szegedy et al. 2016, eq. 7).

    Args:
        votes: of M rows.
        used: bool [M], rows that belong to a row of the job; votes of the others are not looked at.
        class_names: C names.
        label_smoothing: s, at least 0 and below 1.

    Returns:
        float32 [M, C], NaN where nobody voted; bool [M] rows without a vote; how often each name was given that is no
        class; bool [M] rows that hold such a name.
    """
    found = codes(votes.names, class_names)
    foreign = (found < 0) & used[votes.rows]
    unknown = Counter(votes.names.filter(pa.array(foreign)).to_pylist())
    known = found >= 0
    counts = np.zeros((votes.count, len(class_names)))
    np.add.at(counts, (votes.rows[known], found[known]), 1)
    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = (1 - label_smoothing) * counts / total + label_smoothing / len(class_names)
    holds_unknown = np.zeros(votes.count, dtype=np.bool_)
    holds_unknown[votes.rows[foreign]] = True
    return shares.astype(np.float32), total[:, 0] == 0, unknown, holds_unknown


def refuse_unknown(
    unknown: Counter[Any], rows: NDArray[np.bool_], ids: pa.Array, field: str, findings: Findings
) -> None:
    """Refuses names that are no classes, the ten most frequent of them with their counts.

    Args:
        unknown: how often each name was given.
        rows: bool [M], where.
        ids: [M].
        field: what findings about the data set call it.
        findings: receives the error.
    """
    if not unknown:
        return
    shown = ", ".join(f"{name!r} ({count} times)" for name, count in unknown.most_common(IDS_SHOWN))
    more = f" and {len(unknown) - IDS_SHOWN} more" if len(unknown) > IDS_SHOWN else ""
    findings.refuse(
        "TEACHER_UNKNOWN_CLASS",
        field,
        f"'teacher_label' holds {shown}{more}, not among the classes; correct them, list all classes in "
        "spec.class_names, or store null where the teacher abstains",
        int(rows.sum()),
        first_ids(ids, rows),
    )
