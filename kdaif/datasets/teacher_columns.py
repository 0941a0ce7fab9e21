"""The members of a teacher that are columns, and the classes that all members declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.part import Part
from kdaif.datasets.rows import Rows
from kdaif.datasets.teacher import teacher_logits
from kdaif.records import ColumnTeacher
from kdaif.records.teachers import EnsembleTeacher, OnnxTeacher, Teacher


@dataclass(frozen=True)
class ColumnMember:
    """A column teacher: the position among the members, its data set's role, and its place in the request."""

    position: int
    source: ColumnTeacher
    role: str
    field: str


def column_members(teacher: Teacher) -> tuple[ColumnMember, ...]:
    """All members that are columns, in order."""
    single = not isinstance(teacher.source, EnsembleTeacher)
    return tuple(
        ColumnMember(position, member, "teacher" if single else f"teacher_{position}", teacher.member_field(position))
        for position, member in enumerate(teacher.members)
        if isinstance(member, ColumnTeacher)
    )


def own_columns(teacher: Teacher) -> set[str]:
    """The columns that the unlabelled set itself must bring."""
    return {member.source.column for member in column_members(teacher) if member.source.dataset is None}


def table_roles(teacher: Teacher) -> dict[str, str]:
    """The roles of teachers' data sets that are tables, and what findings call them. Model files are not among them."""
    return {
        member.role: f"{member.field}.dataset"
        for member in column_members(teacher)
        if member.source.dataset is not None
    }


def declared_classes(teacher: Teacher) -> dict[str, tuple[str, ...]]:
    """Class names by field, of the members that name the class of each of their outputs."""
    return {
        f"{teacher.member_field(position)}.class_names": member.class_names
        for position, member in enumerate(teacher.members)
        if isinstance(member, ColumnTeacher | OnnxTeacher) and member.class_names
    }


def said_about_unlabeled(
    teacher: Teacher,
    part: Part,
    tables: Mapping[str, pa.Table],
    class_names: tuple[str, ...],
    findings: Findings,
) -> dict[int, NDArray[np.float32]]:
    """float32 [N, C] by member; rows without a usable output of every column are rejected."""
    found = {}
    for member in column_members(teacher):
        field = f"{member.field}.dataset" if member.role in tables else part.field
        table = tables.get(member.role, part.table)
        logits = teacher_logits(member.source, part, table, field, class_names, findings, source_field=member.field)
        if logits is not None:
            found[member.position] = logits
    return found


def said_about_validation(
    teacher: Teacher, part: Part, tables: Mapping[str, pa.Table], class_names: tuple[str, ...]
) -> dict[int, NDArray[np.float32]]:
    """float32 [N, C] by member for the part that V is taken from, NaN where a column says nothing.

    Empty unless the teacher is an ensemble that is weighed on V.
    """
    if not (isinstance(teacher.source, EnsembleTeacher) and teacher.source.combine == "by_validation"):
        return {}
    found = {}
    for member in column_members(teacher):
        # Rows that a column cannot judge stay in V: on copies, nothing is rejected and nothing reported.
        scratch, unheard = dataclasses.replace(part), Findings()
        table = tables.get(member.role, part.table)
        logits = teacher_logits(
            member.source, scratch, table, part.field, class_names, unheard, source_field=member.field
        )
        if logits is None:
            logits = np.full((len(part.ids), len(class_names)), np.nan, dtype=np.float32)
        found[member.position] = np.where(scratch.keep[:, None], logits, np.float32(np.nan))
    return found


def refuse_silent_members(teacher: Teacher, validation: Rows, findings: Findings) -> None:
    """Refuses columns that say nothing about rows of V, by which they are to be weighed."""
    for position, logits in validation.member_logits.items():
        silent = np.asarray(~np.isfinite(logits).all(axis=1))
        if silent.any():
            findings.refuse(
                "MEMBER_SILENT_ON_VALIDATION",
                teacher.member_field(position),
                "the column has no outputs for validation rows, by which combine 'by_validation' weighs its members; "
                "add these ids to its data set, or choose combine 'mean'",
                int(silent.sum()),
                first_ids(pa.array(validation.ids), silent),
            )
