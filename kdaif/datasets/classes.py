"""Class names of a job, and every label bound to them by name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.columns import LABEL, TRUTH
from kdaif.datasets.findings import IDS_SHOWN, Findings, first_ids
from kdaif.datasets.labels import Names, sorted_names
from kdaif.datasets.matrices import plain
from kdaif.datasets.part import Part
from kdaif.datasets.teacher_columns import declared_classes
from kdaif.records import DistillationSpec

MOST_CLASSES = 20_000
_RARE_UNDER_ROWS = 5


def bind_class_names(spec: DistillationSpec, labeled: Names, findings: Findings) -> tuple[str, ...]:
    """The names of all classes, in the order of every logit.

    They are those of the spec, or else the labels of the labelled set together with the classes that the teacher
    declares: it may know a class that nobody has labelled yet.

    Args:
        spec: the job.
        labeled: labels of the labelled set.
        findings: receives the errors.
    """
    declared = declared_classes(spec.teacher)
    names = spec.class_names
    if names is None:
        names = sorted_names([*labeled.distinct, *(name for names in declared.values() for name in names)])
    if len(names) < 2:
        findings.refuse(
            "TOO_FEW_CLASSES", "spec.labeled", f"{len(names)} class among the labels; at least two are needed"
        )
    if len(names) > MOST_CLASSES:
        findings.refuse(
            "TOO_MANY_CLASSES",
            "spec.labeled" if spec.class_names is None else "spec.class_names",
            f"{len(names):,} classes, such as {listed(names)}, where at most {MOST_CLASSES:,} are allowed; is 'label' "
            "a column of ids or of measured numbers? Else group classes that lie close together",
        )
        return names
    for field, teacher in declared.items():
        _compare_teacher(teacher, names, field, findings)
    return names


def _compare_teacher(teacher: tuple[str, ...], names: tuple[str, ...], field: str, findings: Findings) -> None:
    known, wanted = set(teacher), set(names)
    if missing := [name for name in names if name not in known]:
        findings.refuse("TEACHER_LACKS_CLASS", field, f"the teacher has no output for {listed(missing)}; add it")
    if extra := [name for name in teacher if name not in wanted]:
        findings.refuse(
            "TEACHER_KNOWS_OTHER_CLASS",
            field,
            f"the teacher also knows {listed(extra)}; add to spec.class_names or remove from the teacher's outputs",
        )


def single_labels(part: Part, findings: Findings) -> Names | None:
    """The ``label`` column of a labelled part, or None (and a finding) when it does not hold single classes.

    Lists of labels and measured numbers would otherwise become classes of their own, one for each value that occurs.
    """
    type_ = plain(part.file.schema.field(LABEL).type)
    only = "kdaif does single-label classification: one class name per row"
    if pa.types.is_nested(type_) or isinstance(type_, pa.FixedShapeTensorType):
        findings.refuse(
            "MULTILABEL_UNSUPPORTED",
            part.field,
            f"{only}, and {LABEL!r} is {type_}, several values per row (multilabel); keep one class per row, or submit "
            "one job for each label with its own yes/no column",
        )
        return None
    if pa.types.is_floating(type_):
        broken, example = _with_fractions(part)
        if broken.any():
            findings.refuse(
                "REGRESSION_UNSUPPORTED",
                part.field,
                f"{only}, and {LABEL!r} is {type_} with fractions such as {example:.6g} (regression); cut "
                "the numbers into classes, or store them as text if they are names of classes",
                int(broken.sum()),
                first_ids(part.ids, broken),
            )
            return None
    return part.names(LABEL, findings)


def _with_fractions(part: Part) -> tuple[NDArray[np.bool_], float]:
    """Bool [N], rows whose label is no whole number, and the first such label."""
    broken = np.zeros(len(part.ids), dtype=np.bool_)
    examples: list[float] = []
    for rows, labels in part.file.column(LABEL):
        values = np.asarray(labels.cast(plain(labels.type)).to_numpy(zero_copy_only=False), dtype=np.float64)
        broken[rows] = np.isfinite(values) & (values != np.floor(values))  # null is NaN
        examples.extend(values[broken[rows]][:1])
    return broken, float(examples[0]) if examples else 0.0


def label_codes(part: Part, names: Names, class_names: tuple[str, ...], findings: Findings) -> NDArray[np.int32]:
    """int32 [N]: the class of each row of a labelled part; a null rejects the row, an unknown name refuses the job."""
    found = names.classes(class_names)
    part.reject(names.null, "NULL_LABEL", "no label (null, NaN, empty or over 256 characters)", findings)
    unknown = (found < 0) & ~names.null
    if unknown.any():
        findings.refuse(
            "UNKNOWN_LABEL",
            part.field,
            f"labels {listed(names.other_than(class_names))} are not among the classes {listed(class_names)}; "
            "correct them or list all classes in spec.class_names",
            int(unknown.sum()),
            first_ids(part.ids, unknown),
        )
    return found


def truth_codes(part: Part, class_names: tuple[str, ...], findings: Findings) -> NDArray[np.int32] | None:
    """int32 [N], -1 where unknown: the ``truth`` column of the unlabelled part, or None when there is none."""
    if TRUTH not in part.file.schema.names:
        return None
    names = part.names(TRUTH, findings)
    return None if names is None else _codes_for_audit(part, names, TRUTH, class_names, findings)


def spare_label_codes(part: Part, class_names: tuple[str, ...], findings: Findings) -> NDArray[np.int32] | None:
    """int32 [N], -1 where null: labels that came with the unlabelled part. They serve to check the teacher, no more."""
    if LABEL not in part.file.schema.names:
        return None
    names = part.names(LABEL, findings)
    if names is None or names.null.all():
        return None
    findings.info(
        "UNLABELED_LABELS_NOT_TRAINED_ON",
        part.field,
        "rows of the unlabelled set carry a label; it only serves to check a column teacher, so move them to the "
        "labelled set to train on them",
        int((~names.null).sum()),
        first_ids(part.ids, ~names.null),
    )
    return _codes_for_audit(part, names, LABEL, class_names, findings)


def report_coverage(
    labels: NDArray[np.int32], class_names: tuple[str, ...], field: str, part: str, findings: Findings
) -> None:
    """Warns of classes without a row among ``labels`` (int32 [N]), and tells the rare ones; the job goes on."""
    counts = np.bincount(labels, minlength=len(class_names))
    if missing := [name for name, count in zip(class_names, counts, strict=True) if not count]:
        code = "CLASS_WITHOUT_LABELED_ROWS" if part == "labeled" else "CLASS_WITHOUT_ROWS"
        findings.warn(code, field, f"0 {part} rows of class {listed(missing)}; figures for it mean little")
    if rare := [name for name, count in zip(class_names, counts, strict=True) if 0 < count < _RARE_UNDER_ROWS]:
        message = f"fewer than {_RARE_UNDER_ROWS} {part} rows of class {listed(rare)}; figures for it mean little"
        findings.info("RARE_CLASS", field, message, int(sum(count for count in counts if 0 < count < _RARE_UNDER_ROWS)))


def listed(names: list[str] | tuple[str, ...]) -> str:
    """Names for a message, the first ten of them."""
    shown = ", ".join(repr(name) for name in names[:IDS_SHOWN])
    return f"{shown} and {len(names) - IDS_SHOWN} more" if len(names) > IDS_SHOWN else shown


def _codes_for_audit(
    part: Part, names: Names, column: str, class_names: tuple[str, ...], findings: Findings
) -> NDArray[np.int32]:
    found = names.classes(class_names)
    unknown = (found < 0) & ~names.null
    if unknown.any():
        findings.warn(
            f"UNKNOWN_{column.upper()}",
            part.field,
            f"{column!r} holds {listed(names.other_than(class_names))}, not among the classes; taken as not known",
            int(unknown.sum()),
            first_ids(part.ids, unknown),
        )
    return found
