"""Whether a teacher that was run agrees with V: rows or columns that are mixed up raise no error anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kdaif.datasets import DistillationData
from kdaif.datasets.findings import Findings
from kdaif.datasets.teacher import warn_if_no_better_than_chance
from kdaif.records import ColumnTeacher, Finding
from kdaif.records.teachers import Teacher
from kdaif.teachers.outputs import TeacherOutputs


def doubts(teacher: Teacher, outputs: Sequence[TeacherOutputs], data: DistillationData) -> tuple[Finding, ...]:
    """A warning for each member whose classes on V are those of V no more often than chance would have it.

    A column has been held against what is known of the unlabelled rows before the job began.

    Args:
        teacher: its members.
        outputs: what each said.
        data: the rows.
    """
    findings, rows = Findings(), data.validation
    keep = np.ones(len(rows), dtype=np.bool_)
    for position, (member, said) in enumerate(zip(teacher.members, outputs, strict=True)):
        if said.validation is not None and not isinstance(member, ColumnTeacher):
            field = teacher.member_field(position)
            best, known = said.validation.argmax(axis=1).astype(np.int32), rows.labels.astype(np.int32)
            ids = pa.array(rows.ids)
            warn_if_no_better_than_chance(best, len(data.class_names), known, ids, keep, findings, field=field)
    return findings.report().findings
