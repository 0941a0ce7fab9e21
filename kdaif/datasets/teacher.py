"""Soft targets that came as a column: joined by id, their positions bound to class names."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.matrices import from_lists, is_list, is_number
from kdaif.datasets.part import Part, read_ids
from kdaif.datasets.teacher_votes import read_votes, refuse_unknown, vote_shares
from kdaif.records import ColumnTeacher

SUM_TOLERANCE = 1e-3
# A probability of 0 has no finite logarithm. 1e-12 is far below what any teacher can tell from 0.
SMALLEST_PROBABILITY = 1e-12
# The chance that teacher rows in random order would agree as well as these do must be below this.
CHANCE = 1e-3
_CHUNK_NUMBERS = 2**24


def teacher_logits(
    source: ColumnTeacher,
    part: Part,
    table: pa.Table,
    field: str,
    class_names: tuple[str, ...],
    findings: Findings,
    *,
    source_field: str = "spec.teacher.column",
) -> NDArray[np.float32] | None:
    """The teacher's outputs for the rows of the unlabelled part.

    Args:
        source: what the column holds, and the class of each position.
        part: the unlabelled part; rows without usable outputs are rejected.
        table: the data set that holds the column; the part's own or another.
        field: what findings about ``table`` call it.
        class_names: C names, the same set as ``source.class_names`` where the outputs are positions.
        findings: receives what is wrong.
        source_field: where ``source`` stands in the request.

    Returns:
        float32 [N, C] in the order of ``class_names``, probabilities and shares of votes as logarithms; None when
        refused.
    """
    ids = part.ids if table is part.table else read_ids(table, field, findings)
    if ids is None or not _has_column(source, table, field, source_field, findings):
        return None
    if source.outputs == "label":
        return _from_votes(source, part, table, ids, field, class_names, findings)
    outputs = _read_outputs(source, table, ids, field, source_field, findings)
    if outputs is None:
        return None
    matrix, missing = outputs
    if source.outputs == "logits" and _looks_like_probabilities(matrix, missing):
        findings.refuse(
            "LOGITS_LOOK_LIKE_PROBABILITIES",
            f"{source_field}.outputs",
            f"every row of {source.column!r} is non-negative and sums to 1, so softmax would be applied twice; "
            "rename the column to 'teacher_probabilities' and declare outputs 'probabilities'",
        )
        return None
    rows = _rows_by_id(part, ids, field, findings)
    if rows is None:
        return None
    position = {name: place for place, name in enumerate(source.class_names)}
    order = [position[name] for name in class_names]
    absent = np.asarray((rows < 0) | missing[rows])
    joined = np.empty((len(rows), len(order)), dtype=np.float32)
    for chunk in _chunks(joined):
        joined[chunk] = matrix[rows[chunk]][:, order]
    del matrix, outputs
    part.reject(absent, "TEACHER_ROW_MISSING", f"no {source.column!r} for this id in {field}", findings)
    part.reject(
        ~_are_finite(joined),
        "TEACHER_ROW_NOT_FINITE",
        f"NaN or infinity in {source.column!r}",
        findings,
    )
    if source.outputs == "logits":
        return joined
    part.reject(
        ~_are_probabilities(joined),
        "TEACHER_ROW_NO_PROBABILITIES",
        f"{source.column!r} is negative or does not sum to 1 (logits belong into 'teacher_logits')",
        findings,
    )
    return _logarithm(joined)


def warn_if_no_better_than_chance(
    logits: NDArray[np.float32],
    known: NDArray[np.int64],
    part: Part,
    findings: Findings,
    *,
    field: str = "spec.teacher.source",
) -> None:
    """Warns when the teacher agrees with known classes no better than rows in random order would.

    Rows joined to the wrong outputs raise no error anywhere; this is how they show. The binomial tail is bounded by
    Chernoff's inequality. Too few rows to tell even a faultless teacher from chance give no warning.

    Args:
        logits: float32 [N, C].
        known: int64 [N], -1 where the class is not known.
        part: the unlabelled part.
        findings: receives the warning.
        field: what it calls the teacher.
    """
    checked = part.keep & (known >= 0)
    rows = int(checked.sum())
    if not rows:
        return
    classes = logits.shape[1]
    said = logits.argmax(axis=1)[checked]
    agreement = float((said == known[checked]).mean())
    chance = float(
        (np.bincount(said, minlength=classes) / rows) @ (np.bincount(known[checked], minlength=classes) / rows)
    )
    needed = math.log(1 / CHANCE)
    if rows * _divergence(1.0, chance) >= needed > rows * _divergence(agreement, chance):
        disagree = np.zeros(len(known), dtype=np.bool_)
        disagree[np.flatnonzero(checked)[said != known[checked]]] = True
        findings.warn(
            "TEACHER_AT_CHANCE",
            field,
            f"the teacher agrees with {agreement:.1%} of {rows} known classes where rows in random order would reach "
            f"{chance:.1%}; check that its rows belong to these ids and its columns to these class names",
            int(disagree.sum()),
            first_ids(part.ids, disagree),
        )


def _from_votes(
    source: ColumnTeacher,
    part: Part,
    table: pa.Table,
    ids: pa.Array,
    field: str,
    class_names: tuple[str, ...],
    findings: Findings,
) -> NDArray[np.float32] | None:
    votes = read_votes(table[source.column], source.column, field, findings)
    rows = _rows_by_id(part, ids, field, findings)
    if votes is None or rows is None:
        return None
    used = np.zeros(votes.count, dtype=np.bool_)
    used[rows[rows >= 0]] = True
    shares, silent, unknown, holds_unknown = vote_shares(votes, used, class_names, source.label_smoothing)
    if unknown:
        refuse_unknown(unknown, holds_unknown, ids, field, findings)
        return None
    absent = np.asarray((rows < 0) | silent[rows])
    part.reject(absent, "TEACHER_ROW_MISSING", f"no vote in {source.column!r} for this id in {field}", findings)
    return _logarithm(shares[rows])


def _logarithm(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place, since [N, C] is large where classes are many."""
    with np.errstate(invalid="ignore"):
        np.maximum(probabilities, np.float32(SMALLEST_PROBABILITY), out=probabilities)
        return np.asarray(np.log(probabilities, out=probabilities))


def _has_column(source: ColumnTeacher, table: pa.Table, field: str, source_field: str, findings: Findings) -> bool:
    if source.column in table.schema.names:
        return True
    findings.refuse(
        "NO_TEACHER_COLUMN",
        field,
        f"no column {source.column!r}, which {source_field}.outputs asks for; add it or correct the outputs",
    )
    return False


def _read_outputs(
    source: ColumnTeacher, table: pa.Table, ids: pa.Array, field: str, source_field: str, findings: Findings
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """The column as float32 [M, K] and the null rows, bool [M]."""
    column = table[source.column]
    width = len(source.class_names)
    if not is_list(column.type) or not is_number(column.type.value_type):
        findings.refuse(
            "TEACHER_TYPE", field, f"{source.column!r} is {column.type}; store one list of {width} floats per row"
        )
        return None
    matrix, missing, misfit = from_lists(column, width)
    if misfit.any():
        findings.refuse(
            "WRONG_LENGTH",
            field,
            f"{source.column!r} does not hold one number for each of the {width} {source_field}.class_names",
            int(misfit.sum()),
            first_ids(ids, misfit),
        )
        return None
    return matrix, missing


def _rows_by_id(part: Part, ids: pa.Array, field: str, findings: Findings) -> NDArray[np.int64] | None:
    """int64 [N]: the teacher's row of each row of the part, -1 where it has none."""
    if ids is part.ids:
        return np.arange(len(ids))
    if ids.type != part.ids.type:
        findings.refuse(
            "ID_TYPE", field, f"'id' is {ids.type} but that of the unlabelled set is {part.ids.type}; make them alike"
        )
        return None
    found = pc.index_in(part.ids, value_set=ids).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _chunks(matrix: NDArray[np.float32]) -> Iterator[slice]:
    """Runs of rows of some 64 MB. With thousands of classes, what is made of all rows at once fills the memory."""
    step = max(1, _CHUNK_NUMBERS // max(1, matrix.shape[1]))
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)


def _are_finite(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    finite = np.empty(len(matrix), dtype=np.bool_)
    for chunk in _chunks(matrix):
        finite[chunk] = np.isfinite(matrix[chunk]).all(axis=1)
    return finite


def _are_probabilities(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    fitting = np.empty(len(matrix), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        for chunk in _chunks(matrix):
            total = matrix[chunk].sum(axis=1, dtype=np.float64)
            fitting[chunk] = (matrix[chunk] >= 0).all(axis=1) & (np.abs(total - 1) <= SUM_TOLERANCE)
    return fitting


def _looks_like_probabilities(matrix: NDArray[np.float32], missing: NDArray[np.bool_]) -> bool:
    finite = ~missing & _are_finite(matrix)
    return bool(finite.any() and _are_probabilities(matrix)[finite].all())


def _divergence(share: float, chance: float) -> float:
    """Kullback-Leibler divergence of two coins in nats; 0 when ``share`` is not above ``chance``."""
    if share <= chance:
        return 0.0
    if chance == 0.0:
        return math.inf
    tail = 0.0 if share == 1.0 else (1 - share) * math.log((1 - share) / (1 - chance))
    return share * math.log(share / chance) + tail
