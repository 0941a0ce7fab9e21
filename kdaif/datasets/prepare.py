"""The one way from files to rows. `preflight` keeps what it found, `prepare` keeps the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.checked import Checked
from kdaif.datasets.classes import bind_class_names, label_codes, single_labels, spare_label_codes, truth_codes
from kdaif.datasets.columns import LABEL
from kdaif.datasets.division import check_part, labeled_rows, rows_of
from kdaif.datasets.estimate import estimate
from kdaif.datasets.feasible import check_feasible
from kdaif.datasets.findings import Findings
from kdaif.datasets.hashing import content_hashes
from kdaif.datasets.overlaps import labels_of_twins, report_contradictions, report_repeats, separate
from kdaif.datasets.overrides import weight_overrides
from kdaif.datasets.part import Part
from kdaif.datasets.reading import read_parts, read_tables
from kdaif.datasets.rows import DistillationData, Rows
from kdaif.datasets.teacher import warn_if_no_better_than_chance
from kdaif.datasets.teacher_columns import refuse_silent_members, said_about_unlabeled, said_about_validation
from kdaif.datasets.texts import encode, train_tokenizer
from kdaif.errors import InvalidInputError
from kdaif.records import ColumnTeacher, DistillationSpec, ModelSignature, PreflightReport


def preflight(spec: DistillationSpec, files: Mapping[str, Path]) -> PreflightReport:
    """Everything that `prepare` would find, errors included, but for what only decoded pictures tell.

    Of encoded pictures it reads the headers, and takes equal bytes for equal pictures. `prepare` also rejects those
    that break off after the header, and finds equal pixels in different files. No tokenizer is trained.

    Args:
        spec: the job.
        files: local Parquet file by role, one for each role of ``spec.dataset_ids()``.
    """
    return check(spec, files).report


def check(
    spec: DistillationSpec, files: Mapping[str, Path], models: Mapping[str, ModelSignature] | None = None
) -> Checked:
    """As `preflight`, and each rejected row by name. Of data that is refused, the rows found until then.

    Args:
        spec: the job.
        files: as of `preflight`.
        models: of each role that is a model, what its file says of itself; where it is missing nothing is checked.
    """
    findings, cost = Findings(), None
    try:
        data = _examine(spec, files, findings, decode_pictures=False)
        check_feasible(spec, data, models or {}, findings)
        cost = estimate(spec, data)
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
    data = _examine(spec, files, Findings(), decode_pictures=True)
    return _with_word_pieces(data, spec) if data.signature.kind == "text" else data


def _with_word_pieces(data: DistillationData, spec: DistillationSpec) -> DistillationData:
    """Word pieces in place of texts. The tokenizer sees the rows that are trained on, and none that are held out."""
    seen = data.training_features
    tokenizer = train_tokenizer(seen.tolist(), spec.inputs)

    def encoded(rows: Rows) -> Rows:
        return replace(rows, features=encode(tokenizer, rows.features), texts=rows.features)

    return replace(
        data,
        signature=replace(data.signature, tokenizer=tokenizer),
        labeled=encoded(data.labeled),
        validation=encoded(data.validation),
        gate=encoded(data.gate),
        unlabeled=encoded(data.unlabeled),
        test=encoded(data.test),
        external=None if data.external is None else encoded(data.external),
    )


def _examine(
    spec: DistillationSpec, files: Mapping[str, Path], findings: Findings, *, decode_pictures: bool
) -> DistillationData:
    """The rows, texts among them not yet encoded."""
    tables = read_tables(spec, files, findings)
    findings.raise_if_refused()
    parts, signature = read_parts(spec, tables, findings, decode_pictures=decode_pictures)
    findings.raise_if_refused()
    class_names, labels = _bind_labels(spec, parts, findings)
    for name, why in spec.training.misfits(len(class_names)).items():
        findings.refuse("TOO_FEW_CLASSES", f"spec.training.{name}", why)
    findings.raise_if_refused()
    unlabeled = parts["unlabeled"]
    said = said_about_unlabeled(spec.teacher, unlabeled, tables, class_names, findings)
    truth = truth_codes(unlabeled, class_names, findings)
    spare = spare_label_codes(unlabeled, class_names, findings)
    overrides = weight_overrides(unlabeled, findings)
    _refuse_oracle_without_truth(spec, truth, findings)
    for part in parts.values():
        part.refuse_if_mostly_bad(spec.checks.max_rejected_share, findings)
    findings.raise_if_refused()
    hashes = {role: content_hashes(part.features) for role, part in parts.items()}
    if said:
        twins = labels_of_twins(hashes["unlabeled"], parts["labeled"], hashes["labeled"], labels["labeled"])
        known = _first_known(truth, spare, twins)
        for position, logits in said.items():
            field = spec.teacher.member_field(position)
            warn_if_no_better_than_chance(logits, known, unlabeled, findings, field=field)
    report_contradictions(parts["labeled"], hashes["labeled"], labels["labeled"], findings)
    separate(parts, hashes, findings)
    report_repeats(unlabeled, hashes["unlabeled"], findings)
    findings.raise_if_refused()
    source = "labeled" if spec.validation is None else "validation"
    judged = said_about_validation(spec.teacher, parts[source], tables, class_names)
    rows = labeled_rows(spec, parts, labels, hashes, judged)
    refuse_silent_members(spec.teacher, rows["validation"], findings)
    for name, chosen in rows.items():
        check_part(name, chosen, class_names, findings)
    single = isinstance(spec.teacher.source, ColumnTeacher)
    rows["unlabeled"] = rows_of(
        unlabeled,
        np.flatnonzero(unlabeled.keep),
        truth=truth,
        logits=said.get(0) if single else None,
        said={} if single else said,
        overrides=overrides,
    )
    findings.raise_if_refused()
    return DistillationData(
        class_names, signature, **rows, report=findings.report(), test_is_given=spec.test is not None
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
