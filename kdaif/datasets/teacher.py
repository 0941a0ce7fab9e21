"""Soft targets that came as a column: joined by id, their positions bound to class names, read run by run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.ids import places_among, read_ids
from kdaif.datasets.matrices import from_lists, is_list, is_number
from kdaif.datasets.part import Part
from kdaif.datasets.table_file import TableFile
from kdaif.datasets.teacher_votes import Ballot, holds_votes
from kdaif.records import ColumnTeacher
from kdaif.scratch import Scratch
from kdaif.top_classes import empty_logits

SUM_TOLERANCE = 1e-3
# A probability of 0 has no finite logarithm. 1e-12 is far below what any teacher can tell from 0.
SMALLEST_PROBABILITY = 1e-12
# The chance that teacher rows in random order would agree as well as these do must be below this.
CHANCE = 1e-3
_IN_MEMORY = Scratch()
_RUN_ROWS = 65_536


class Said:
    """What a teacher's column says of the N rows of a part.

    Attributes:
        logits: float32 [N, C] in the order of the class names, probabilities and shares of votes as logarithms, by the
            largest classes where a temperature is given. Rows that the part does not keep hold anything. None where
            nothing is kept.
        best: int32 [N], the class of the highest logit, -1 where nothing is said.
    """

    def __init__(self, rows: int, n_classes: int, scratch: Scratch | None, temperature: float | None = None) -> None:
        self.logits = None if scratch is None else empty_logits(rows, n_classes, temperature, scratch)
        self.best = np.full(rows, -1, dtype=np.int32)
        self._scratch = scratch

    def hear(self, rows: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        """Logits, float32 [M, C], of these rows (int64 [M])."""
        self.best[rows] = logits.argmax(axis=1)
        if self._scratch is not None and self.logits is not None:
            self.logits[rows] = logits
            self._scratch.release()


@dataclass(frozen=True, eq=False)
class _Source:
    """A teacher's column of M rows, and the row of the part (int64 [M], -1 for none) that each of them is about.

    ``rows`` is None where the part's own rows hold the column.
    """

    column: ColumnTeacher
    field: str
    table: TableFile
    ids: pa.Array
    rows: NDArray[np.int64] | None

    def rows_of(self, run: slice) -> NDArray[np.int64]:
        """The part's row of each row of a run."""
        return np.arange(run.start, run.stop) if self.rows is None else self.rows[run]


def teacher_logits(
    source: ColumnTeacher,
    part: Part,
    table: TableFile,
    class_names: tuple[str, ...],
    findings: Findings,
    scratch: Scratch | None,
    *,
    source_field: str = "spec.teacher.column",
    temperature: float | None = None,
) -> Said | None:
    """The teacher's outputs for the rows of the unlabelled part.

    Args:
        source: what the column holds, and the class of each position.
        part: the unlabelled part; rows without usable outputs are rejected.
        table: the data set that holds the column; the part's own or another.
        class_names: C names, the same set as ``source.class_names`` where the outputs are positions.
        findings: receives what is wrong.
        scratch: keeps the logits; None to check them alone.
        source_field: where ``source`` stands in the request.
        temperature: of `softening`.

    Returns:
        None when refused.
    """
    own = table is part.file
    ids = part.ids if own else read_ids(table, scratch or _IN_MEMORY, findings)
    if ids is None or not _has_column(source, table, source_field, findings):
        return None
    if not _has_type(source, table, findings):
        return None
    rows = None
    if not own and ids.type == part.ids.type:
        rows = places_among(part.ids, ids)
    elif not own:
        rows = np.full(len(ids), -1, dtype=np.int64)  # refused below, after what is wrong with the column itself
    column = _Source(source, source_field, table, ids, rows)
    said = Said(len(part.ids), len(class_names), scratch, temperature)
    heard = np.zeros(len(part.ids), dtype=np.bool_)
    if source.outputs == "label":
        if not (_same_ids(part, column, findings) and _hear_votes(column, said, heard, class_names, findings)):
            return None
        part.reject(
            ~heard, "TEACHER_ROW_MISSING", f"no vote in {source.column!r} for this id in {table.field}", findings
        )
        return said
    finite, fitting = heard.copy(), heard.copy()
    if not _hear_outputs(column, said, heard, finite, fitting, class_names, findings):
        return None
    if not _same_ids(part, column, findings):
        return None
    part.reject(~heard, "TEACHER_ROW_MISSING", f"no {source.column!r} for this id in {table.field}", findings)
    part.reject(~finite, "TEACHER_ROW_NOT_FINITE", f"NaN or infinity in {source.column!r}", findings)
    if source.outputs == "probabilities":
        part.reject(
            ~fitting,
            "TEACHER_ROW_NO_PROBABILITIES",
            f"{source.column!r} is negative or does not sum to 1 (logits belong into 'teacher_logits')",
            findings,
        )
    return said


def warn_if_no_better_than_chance(
    best: NDArray[np.int32],
    n_classes: int,
    known: NDArray[np.int32],
    ids: pa.Array,
    keep: NDArray[np.bool_],
    findings: Findings,
    *,
    field: str = "spec.teacher.source",
) -> None:
    """Warns when the teacher agrees with known classes no better than rows in random order would.

    Rows joined to the wrong outputs raise no error anywhere; this is how they show. The binomial tail is bounded by
    Chernoff's inequality. Too few rows to tell even a faultless teacher from chance give no warning.

    Args:
        best: int32 [N], the class that the teacher says.
        n_classes: C.
        known: int32 [N], -1 where the class is not known.
        ids: [N].
        keep: bool [N], rows in use.
        findings: receives the warning.
        field: what it calls the teacher.
    """
    checked = keep & (known >= 0)
    rows = int(checked.sum())
    if not rows:
        return
    disagree = checked & (best != known)
    agreement = (rows - int(disagree.sum())) / rows
    shares = (_counts(codes, checked, n_classes) / rows for codes in (best, known))
    chance = float(next(shares) @ next(shares))
    needed = math.log(1 / CHANCE)
    if rows * _divergence(1.0, chance) >= needed > rows * _divergence(agreement, chance):
        findings.warn(
            "TEACHER_AT_CHANCE",
            field,
            f"the teacher agrees with {agreement:.1%} of {rows} known classes where rows in random order would reach "
            f"{chance:.1%}; check that its rows belong to these ids and its columns to these class names",
            int(disagree.sum()),
            first_ids(ids, disagree),
        )


def _counts(codes: NDArray[np.int32], chosen: NDArray[np.bool_], n_classes: int) -> NDArray[np.int64]:
    """int64 [C]: how often each class is among the chosen rows (bool [N]) of int32 [N], run by run."""
    total = np.zeros(n_classes, dtype=np.int64)
    for start in range(0, len(codes), _RUN_ROWS):
        run = slice(start, start + _RUN_ROWS)
        total += np.bincount(codes[run][chosen[run]], minlength=n_classes)
    return total


def _hear_outputs(
    source: _Source,
    said: Said,
    heard: NDArray[np.bool_],
    finite: NDArray[np.bool_],
    fitting: NDArray[np.bool_],
    class_names: tuple[str, ...],
    findings: Findings,
) -> bool:
    """Reads logits or probabilities into ``said``, and marks the part's rows (bool [N]) that have usable ones.

    Returns:
        False when refused.
    """
    declared, width = source.column, len(source.column.class_names)
    position = {name: place for place, name in enumerate(declared.class_names)}
    order = [position[name] for name in class_names]
    misfit = np.zeros(len(source.ids), dtype=np.bool_)
    any_finite, all_probabilities = False, True
    for run, lists in source.table.column(declared.column, made_bytes=12 * width):
        matrix, missing, misfit[run] = from_lists(lists, width)
        usable = matrix[np.isfinite(matrix).all(axis=1)]
        any_finite = any_finite or len(usable) > 0
        all_probabilities = all_probabilities and bool(_are_probabilities(usable).all())
        asked = source.rows_of(run) >= 0
        rows, joined = source.rows_of(run)[asked], matrix[asked][:, order]
        heard[rows] = ~missing[asked]
        finite[rows] = np.isfinite(joined).all(axis=1)
        fitting[rows] = _are_probabilities(joined)
        said.hear(rows, joined if declared.outputs == "logits" else _logarithm(joined))
    if misfit.any():
        findings.refuse(
            "WRONG_LENGTH",
            source.table.field,
            f"{declared.column!r} does not hold one number for each of the {width} {source.field}.class_names",
            int(misfit.sum()),
            first_ids(source.ids, misfit),
        )
        return False
    if declared.outputs == "logits" and any_finite and all_probabilities:
        findings.refuse(
            "LOGITS_LOOK_LIKE_PROBABILITIES",
            f"{source.field}.outputs",
            f"every row of {declared.column!r} is non-negative and sums to 1, so softmax would be applied twice; "
            "rename the column to 'teacher_probabilities' and declare outputs 'probabilities'",
        )
        return False
    return True


def _hear_votes(
    source: _Source, said: Said, heard: NDArray[np.bool_], class_names: tuple[str, ...], findings: Findings
) -> bool:
    """Reads votes into ``said``, and marks the part's rows (bool [N]) that have one; False when refused."""
    ballot = Ballot(class_names, source.column.label_smoothing, len(source.ids))
    for run, votes in source.table.column(source.column.column, made_bytes=24 * len(class_names)):
        asked = source.rows_of(run) >= 0
        shares, silent = ballot.count(run, votes, asked)
        rows = source.rows_of(run)[asked]
        heard[rows] = ~silent[asked]
        said.hear(rows, _logarithm(shares[asked]))
    return not ballot.refused(source.ids, source.table.field, findings)


def _logarithm(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place."""
    with np.errstate(invalid="ignore"):
        np.maximum(probabilities, np.float32(SMALLEST_PROBABILITY), out=probabilities)
        return np.asarray(np.log(probabilities, out=probabilities))


def _has_column(source: ColumnTeacher, table: TableFile, source_field: str, findings: Findings) -> bool:
    if source.column in table.schema.names:
        return True
    findings.refuse(
        "NO_TEACHER_COLUMN",
        table.field,
        f"no column {source.column!r}, which {source_field}.outputs asks for; add it or correct the outputs",
    )
    return False


def _has_type(source: ColumnTeacher, table: TableFile, findings: Findings) -> bool:
    type_ = table.schema.field(source.column).type
    if source.outputs == "label":
        fits, wanted = holds_votes(type_), "a class name per row (string, integer or boolean), or a list of them"
    else:
        fits = is_list(type_) and is_number(type_.value_type)
        wanted = f"one list of {len(source.class_names)} floats per row"
    if not fits:
        findings.refuse("TEACHER_TYPE", table.field, f"{source.column!r} is {type_}; store {wanted}")
    return fits


def _same_ids(part: Part, source: _Source, findings: Findings) -> bool:
    if source.ids.type == part.ids.type:
        return True
    findings.refuse(
        "ID_TYPE",
        source.table.field,
        f"'id' is {source.ids.type} but that of the unlabelled set is {part.ids.type}; make them alike",
    )
    return False


def _are_probabilities(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        total = matrix.sum(axis=1, dtype=np.float64)
        return np.asarray((matrix >= 0).all(axis=1) & (np.abs(total - 1) <= SUM_TOLERANCE))


def _divergence(share: float, chance: float) -> float:
    """Kullback-Leibler divergence of two coins in nats; 0 when ``share`` is not above ``chance``."""
    if share <= chance:
        return 0.0
    if chance == 0.0:
        return math.inf
    tail = 0.0 if share == 1.0 else (1 - share) * math.log((1 - share) / (1 - chance))
    return share * math.log(share / chance) + tail
