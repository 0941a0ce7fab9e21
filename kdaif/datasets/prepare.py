"""The one way from files to rows. `preflight` keeps what it found, `prepare` keeps the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdaif.datasets.checked import Checked
from kdaif.datasets.classes import (
    bind_class_names,
    label_codes,
    report_coverage,
    single_labels,
    spare_label_codes,
    truth_codes,
)
from kdaif.datasets.columns import LABEL, TEACHER, TRUTH, WEIGHT_OVERRIDE, match_signature, read_layout
from kdaif.datasets.estimate import estimate
from kdaif.datasets.findings import Findings
from kdaif.datasets.hashing import content_hashes
from kdaif.datasets.overlaps import labels_of_twins, report_contradictions, report_repeats, separate
from kdaif.datasets.overrides import weight_overrides
from kdaif.datasets.parquet import read_table
from kdaif.datasets.part import Part, read_part
from kdaif.datasets.rows import DistillationData, InputSignature, Rows
from kdaif.datasets.splits import split
from kdaif.datasets.teacher import teacher_logits, warn_if_no_better_than_chance
from kdaif.errors import InvalidInputError
from kdaif.records import Cnn, ColumnTeacher, DistillationSpec, PreflightReport, TrainedTeacher

FIELDS = {
    "labeled": "spec.labeled",
    "unlabeled": "spec.unlabeled",
    "validation": "spec.validation",
    "test": "spec.test",
    "external": "spec.external",
    "teacher": "spec.teacher.column.dataset",
}
PART_FIELDS = {**FIELDS, "gate": "spec.splits.gate_share"}

_FEW_ROWS = 30  # under it a share has a 95 % interval of more than 30 points


def preflight(spec: DistillationSpec, files: Mapping[str, Path]) -> PreflightReport:
    """Everything that `prepare` would find, errors included.

    Args:
        spec: the job.
        files: local Parquet file by role, one for each role of ``spec.dataset_ids()``.
    """
    return check(spec, files).report


def check(spec: DistillationSpec, files: Mapping[str, Path]) -> Checked:
    """As `preflight`, and each rejected row by name. Of data that is refused, the rows found until then."""
    findings, cost = Findings(), None
    try:
        cost = estimate(spec, _examine(spec, files, findings))
    except InvalidInputError:
        if not findings.refused:
            raise
    return Checked(findings.report(), findings.rejected(), cost)


def prepare(spec: DistillationSpec, files: Mapping[str, Path]) -> DistillationData:
    """Checked rows of one job. Reads every file whole into memory.

    Args:
        spec: the job.
        files: local Parquet file by role, one for each role of ``spec.dataset_ids()``.

    Raises:
        InvalidInputError: the data cannot be distilled from; one violation for each error that `preflight` reports.
    """
    return _examine(spec, files, Findings())


def _examine(spec: DistillationSpec, files: Mapping[str, Path], findings: Findings) -> DistillationData:
    tables = _read_tables(spec, files, findings)
    findings.raise_if_refused()
    parts, signature = _read_parts(spec, tables, findings)
    findings.raise_if_refused()
    class_names, labels = _bind_labels(spec, parts, findings)
    for name, why in spec.training.misfits(len(class_names)).items():
        findings.refuse("TOO_FEW_CLASSES", f"spec.training.{name}", why)
    findings.raise_if_refused()
    unlabeled = parts["unlabeled"]
    logits = _column_teacher(spec, unlabeled, tables, class_names, findings)
    truth = truth_codes(unlabeled, class_names, findings)
    spare = spare_label_codes(unlabeled, class_names, findings)
    overrides = weight_overrides(unlabeled, findings)
    _refuse_oracle_without_truth(spec, truth, findings)
    for part in parts.values():
        part.refuse_if_mostly_bad(spec.checks.max_rejected_share, findings)
    findings.raise_if_refused()
    hashes = {role: content_hashes(part.features) for role, part in parts.items()}
    if logits is not None:
        twins = labels_of_twins(hashes["unlabeled"], parts["labeled"], hashes["labeled"], labels["labeled"])
        known = _first_known(truth, spare, twins)
        warn_if_no_better_than_chance(logits, known, unlabeled, findings)
    report_contradictions(parts["labeled"], hashes["labeled"], labels["labeled"], findings)
    separate(parts, hashes, findings)
    report_repeats(unlabeled, hashes["unlabeled"], findings)
    findings.raise_if_refused()
    rows = _labeled_rows(spec, parts, labels, hashes)
    for name, chosen in rows.items():
        _check_part(name, chosen, class_names, findings)
    rows["unlabeled"] = _rows(
        unlabeled, np.flatnonzero(unlabeled.keep), truth=truth, logits=logits, overrides=overrides
    )
    findings.raise_if_refused()
    return DistillationData(
        class_names, signature, **rows, report=findings.report(), test_is_given=spec.test is not None
    )


def _read_tables(spec: DistillationSpec, files: Mapping[str, Path], findings: Findings) -> dict[str, pa.Table]:
    tables = {}
    for role in spec.dataset_ids():
        try:
            tables[role] = read_table(files[role])
        except InvalidInputError as error:
            findings.refuse("UNREADABLE_FILE", FIELDS[role], error.violations[0].description)
    return tables


def _read_parts(
    spec: DistillationSpec, tables: Mapping[str, pa.Table], findings: Findings
) -> tuple[dict[str, Part], InputSignature]:
    roles = [role for role in ("labeled", "unlabeled", "validation", "test", "external") if role in tables]
    layouts = {role: read_layout(tables[role], FIELDS[role], findings) for role in roles}
    findings.raise_if_refused()
    known = {role: layout for role, layout in layouts.items() if layout is not None}
    signature = known["labeled"].signature
    _refuse_wrong_architecture(spec, signature, findings)
    parts = {}
    for role in roles:
        _report_unused(spec, role, tables[role], findings)
        if match_signature(known[role].signature, signature, FIELDS[role], findings):
            part = read_part(tables[role], known[role], signature, FIELDS[role], findings)
            if part is not None:
                parts[role] = part
    return parts, signature


def _refuse_wrong_architecture(spec: DistillationSpec, signature: InputSignature, findings: Findings) -> None:
    source = spec.teacher.source
    networks = {"spec.student": spec.student}
    if isinstance(source, TrainedTeacher):
        networks["spec.teacher.train.architecture"] = source.architecture
    for field, network in networks.items():
        if isinstance(network, Cnn) and signature.kind != "image":
            findings.refuse("CNN_WITHOUT_IMAGES", field, "a cnn needs an 'image' column; choose mlp for numbers")


def _report_unused(spec: DistillationSpec, role: str, table: pa.Table, findings: Findings) -> None:
    used = {TRUTH} if role == "unlabeled" else set()
    if role == "unlabeled" and spec.weighting.method == "influence":
        used.add(WEIGHT_OVERRIDE)
    source = spec.teacher.source
    if role == "unlabeled" and isinstance(source, ColumnTeacher) and source.dataset is None:
        used.add(source.column)
    unused = [name for name in (*TEACHER, TRUTH, WEIGHT_OVERRIDE) if name in table.schema.names and name not in used]
    if unused:
        findings.info(
            "COLUMN_NOT_USED", FIELDS[role], f"{', '.join(unused)} not used: this job does not ask for it here"
        )


def _bind_labels(
    spec: DistillationSpec, parts: Mapping[str, Part], findings: Findings
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    texts = {}
    for role, part in parts.items():
        if role == "unlabeled":
            continue
        if LABEL not in part.table.schema.names:
            findings.refuse("NO_LABEL", part.field, "no 'label' column; add one with a class name in every row")
        else:
            texts[role] = single_labels(part, findings)
    findings.raise_if_refused()
    class_names = bind_class_names(spec, texts["labeled"], findings)
    findings.raise_if_refused()
    labels = {role: label_codes(parts[role], text, class_names, findings) for role, text in texts.items()}
    return class_names, labels


def _column_teacher(
    spec: DistillationSpec,
    unlabeled: Part,
    tables: Mapping[str, pa.Table],
    class_names: tuple[str, ...],
    findings: Findings,
) -> NDArray[np.float32] | None:
    source = spec.teacher.source
    if not isinstance(source, ColumnTeacher):
        return None
    field = FIELDS["teacher"] if "teacher" in tables else FIELDS["unlabeled"]
    return teacher_logits(source, unlabeled, tables.get("teacher", unlabeled.table), field, class_names, findings)


def _refuse_oracle_without_truth(spec: DistillationSpec, truth: NDArray[np.int64] | None, findings: Findings) -> None:
    asked = spec.control_arms is not None and "oracle" in spec.control_arms
    if asked and (truth is None or not (truth >= 0).any()):
        findings.refuse(
            "ORACLE_WITHOUT_TRUTH",
            "spec.control_arms",
            "the oracle arm removes wrong rows, which needs a filled 'truth' column in the unlabelled set; "
            "add one or leave the arm out",
        )


def _first_known(*sources: NDArray[np.int64] | None) -> NDArray[np.int64]:
    given = [source for source in sources if source is not None]
    known = given[0].copy()
    for source in given[1:]:
        known = np.where(known < 0, source, known)
    return known


def _labeled_rows(
    spec: DistillationSpec,
    parts: Mapping[str, Part],
    labels: Mapping[str, NDArray[np.int64]],
    hashes: Mapping[str, NDArray[np.uint64]],
) -> dict[str, Rows]:
    """The parts with labels, each taken from its own data set or split off the one that stands in for it."""
    rows = {}
    for role, shares in _shares(spec).items():
        kept = np.flatnonzero(parts[role].keep)
        places = split(hashes[role][kept], labels[role][kept], shares, spec.training.seed)
        for name, positions in places.items():
            rows[name] = _rows(parts[role], kept[positions], labels=labels[role])
    return rows


def _shares(spec: DistillationSpec) -> dict[str, dict[str, float]]:
    """Which parts each data set is divided into. Parts named first are served first where rows are few."""
    gate = spec.splits.gate_share
    validation = {"validation": 1 - gate, "gate": gate}
    held_out: dict[str, float] = {}
    apart: dict[str, dict[str, float]] = {}
    if spec.validation is None:
        held_out["validation"] = spec.splits.validation_share * (1 - gate)
    else:
        apart["validation"] = validation
    if spec.test is None:
        held_out["test"] = spec.splits.test_share
    else:
        apart["test"] = {"test": 1.0}
    if spec.external is not None:
        apart["external"] = {"external": 1.0}
    if spec.validation is None:
        held_out["gate"] = spec.splits.validation_share * gate
    return {"labeled": {"labeled": 1 - sum(held_out.values()), **held_out}, **apart}


def _check_part(name: str, rows: Rows, class_names: tuple[str, ...], findings: Findings) -> None:
    if len(rows):
        report_coverage(rows.labels, class_names, PART_FIELDS[name], name, findings)
        if name != "labeled" and len(rows) < _FEW_ROWS:
            findings.warn(
                "SMALL_PART",
                PART_FIELDS[name],
                f"the {name} part has {len(rows)} rows, so one row moves its figures by {100 / len(rows):.0f} points; "
                f"give {_FEW_ROWS} or more to read anything into them",
                len(rows),
            )
    else:
        findings.refuse(
            "EMPTY_PART", PART_FIELDS[name], f"no row is left for the {name} part; give more labelled rows per class"
        )


def _rows(
    part: Part,
    positions: NDArray[np.int64],
    *,
    labels: NDArray[np.int64] | None = None,
    truth: NDArray[np.int64] | None = None,
    logits: NDArray[np.float32] | None = None,
    overrides: NDArray[np.float64] | None = None,
) -> Rows:
    return Rows(
        ids=part.ids.to_numpy(zero_copy_only=False)[positions],
        features=part.features[positions],
        labels=np.empty(0, dtype=np.int64) if labels is None else labels[positions],
        truth=None if truth is None else truth[positions],
        teacher_logits=None if logits is None else logits[positions],
        groups={name: values[positions] for name, values in part.groups.items()},
        weight_override=None if overrides is None else overrides[positions],
    )
