"""The members of a teacher that are columns, and the classes that all members declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.findings import Findings, first_ids
from kdaif.datasets.part import Part
from kdaif.datasets.table_file import TableFile
from kdaif.datasets.teacher import Said, teacher_logits
from kdaif.records import ColumnTeacher
from kdaif.records.teachers import EnsembleTeacher, OnnxTeacher, Teacher
from kdaif.scratch import Scratch
from kdaif.top_classes import TopClasses


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
    tables: Mapping[str, TableFile],
    class_names: tuple[str, ...],
    findings: Findings,
    scratch: Scratch | None,
    temperature: float | None,
) -> dict[int, Said]:
    """By member; rows without a usable output of every column are rejected. Without ``scratch`` no logits are kept.

    With a temperature, that of `softening`, they are kept by the largest classes.
    """
    found = {}
    for member in column_members(teacher):
        table = tables.get(member.role, part.file)
        said = teacher_logits(
            member.source,
            part,
            table,
            class_names,
            findings,
            scratch,
            source_field=member.field,
            temperature=temperature,
        )
        if said is not None:
            found[member.position] = said
    return found


def said_about_validation(
    teacher: Teacher,
    part: Part,
    tables: Mapping[str, TableFile],
    class_names: tuple[str, ...],
    scratch: Scratch | None,
) -> dict[int, tuple[NDArray[np.float32] | None, NDArray[np.bool_]]]:
    """By member, for the N rows of the part that V is taken from: float32 [N, C], and the rows on which it is silent.

    Empty unless the teacher is an ensemble that is weighed on V. The logits are None without ``scratch``, and where
    the member is silent on every row.
    """
    if not (isinstance(teacher.source, EnsembleTeacher) and teacher.source.combine == "by_validation"):
        return {}
    found = {}
    for member in column_members(teacher):
        # Rows that a column cannot judge stay in V: on a copy, nothing is rejected and nothing reported.
        judged = dataclasses.replace(part)
        table = tables.get(member.role, part.file)
        said = teacher_logits(member.source, judged, table, class_names, Findings(), scratch, source_field=member.field)
        silent = np.ones(len(part.ids), dtype=np.bool_) if said is None else ~judged.keep
        logits = None if said is None or isinstance(said.logits, TopClasses) else said.logits
        found[member.position] = (logits, silent)
    return found


def refuse_silent_members(
    teacher: Teacher,
    part: Part,
    validation: NDArray[np.int64],
    silent: Mapping[int, NDArray[np.bool_]],
    findings: Findings,
) -> None:
    """Refuses columns that say nothing about rows of V, by which they are to be weighed.

    Args:
        teacher: of the job.
        part: the N rows that V is taken from.
        validation: int64 [M], the rows of V.
        silent: bool [N] by member.
        findings: receives the errors.
    """
    for position, rows in silent.items():
        missing = np.zeros(len(rows), dtype=np.bool_)
        missing[validation] = rows[validation]
        if missing.any():
            findings.refuse(
                "MEMBER_SILENT_ON_VALIDATION",
                teacher.member_field(position),
                "the column has no outputs for validation rows, by which combine 'by_validation' weighs its members; "
                "add these ids to its data set, or choose combine 'mean'",
                int(missing.sum()),
                first_ids(part.ids, missing),
            )
