"""Everything that is checked of a job's data, the same for a check alone and for rows that are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.classes import bind_class_names, label_codes, single_labels, spare_label_codes, truth_codes
from kdaif.datasets.division import Places, check_part, divide, report_small_groups
from kdaif.datasets.drift import report_class_drift
from kdaif.datasets.findings import Findings
from kdaif.datasets.overlaps import labels_of_twins, report_contradictions, report_repeats, separate
from kdaif.datasets.overrides import weight_overrides
from kdaif.datasets.part import Part
from kdaif.datasets.reading import open_tables, read_parts
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.teacher import Said, warn_if_no_better_than_chance
from kdaif.datasets.teacher_columns import refuse_silent_members, said_about_unlabeled, said_about_validation
from kdaif.records import DistillationSpec
from kdaif.scratch import Scratch
from kdaif.top_classes import softening


@dataclass(frozen=True, eq=False)
class Examined:
    """What is known of a job's data sets once nothing refuses the job.

    Attributes:
        class_names: C names.
        signature: of every row; of texts, without the tokenizer.
        sets: the data sets of rows by role.
        places: the rows of each part, by name.
        labels: int32 [N], -1 where there is none, by role of the sets with labels.
        truth: int32 [N] of the unlabelled set, -1 where unknown; None without a column.
        overrides: float64 [N] of the unlabelled set, NaN where there is none; None without any, and where nothing is
            kept.
        said: what each member that is a column says of the unlabelled set, by position.
        judged: float32 [N, C] by member for the set that V is taken from; empty where V does not weigh them.
    """

    class_names: tuple[str, ...]
    signature: InputSignature
    sets: Mapping[str, Part]
    places: Mapping[str, Places]
    labels: Mapping[str, NDArray[np.int32]]
    truth: NDArray[np.int32] | None
    overrides: NDArray[np.float64] | None
    said: Mapping[int, Said]
    judged: Mapping[int, NDArray[np.float32]]


def examine(spec: DistillationSpec, files: Mapping[str, Path], findings: Findings, scratch: Scratch | None) -> Examined:
    """Reads the data sets run by run.

    Args:
        spec: the job.
        files: local Parquet file by role.
        findings: receives everything that is found.
        scratch: keeps inputs and teachers' outputs; None to check them alone, encoded pictures then by their headers.

    Raises:
        InvalidInputError: the data cannot be distilled from: ``findings`` says why, unless a file proved damaged while
            its rows were read.
    """
    tables = open_tables(spec, files, findings)
    findings.raise_if_refused()
    sets, signature = read_parts(spec, tables, findings, scratch)
    findings.raise_if_refused()
    class_names, labels = _bind_labels(spec, sets, findings)
    for name, why in spec.training.misfits(len(class_names)).items():
        findings.refuse("TOO_FEW_CLASSES", f"spec.training.{name}", why)
    findings.raise_if_refused()
    unlabeled = sets["unlabeled"]
    temperature = softening(spec.training, len(class_names))
    said = said_about_unlabeled(spec.teacher, unlabeled, tables, class_names, findings, scratch, temperature)
    truth = truth_codes(unlabeled, class_names, findings)
    spare = spare_label_codes(unlabeled, class_names, findings)
    overrides = weight_overrides(unlabeled, findings, scratch)
    _refuse_oracle_without_truth(spec, truth, findings)
    for part in sets.values():
        part.refuse_if_mostly_bad(spec.checks.max_rejected_share, findings)
    findings.raise_if_refused()
    if said:
        twins = labels_of_twins(unlabeled.hashes, sets["labeled"], labels["labeled"])
        known = _first_known(truth, spare, twins)
        for position, outputs in said.items():
            field = spec.teacher.member_field(position)
            warn_if_no_better_than_chance(
                outputs.best, len(class_names), known, unlabeled.ids, unlabeled.keep, findings, field=field
            )
            report_class_drift(
                outputs.best[unlabeled.keep],
                labels["labeled"][sets["labeled"].keep],
                class_names,
                spec.monitoring.class_drift,
                findings,
                field=field,
            )
        del twins, known
    del spare
    report_contradictions(sets["labeled"], labels["labeled"], findings)
    separate(sets, findings)
    report_repeats(unlabeled, findings)
    findings.raise_if_refused()
    source = "labeled" if spec.validation is None else "validation"
    judged = said_about_validation(spec.teacher, sets[source], tables, class_names, scratch)
    places = divide(spec, sets, labels)
    silent = {position: rows for position, (_, rows) in judged.items()}
    refuse_silent_members(spec.teacher, sets[source], places["validation"].rows, silent, findings)
    for name, place in places.items():
        if name != "unlabeled":
            check_part(name, labels[place.role][place.rows], class_names, findings)
            report_small_groups(name, sets[place.role], place, spec.monitoring.fewest_group_rows, findings)
    findings.raise_if_refused()
    logits = {position: values for position, (values, _) in judged.items() if values is not None}
    return Examined(class_names, signature, sets, places, labels, truth, overrides, said, logits)


def _bind_labels(
    spec: DistillationSpec, parts: Mapping[str, Part], findings: Findings
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int32]]]:
    names = {}
    for role, part in parts.items():
        if role == "unlabeled":
            continue
        if (found := single_labels(part, findings)) is not None:
            names[role] = found
    findings.raise_if_refused()
    class_names = bind_class_names(spec, names["labeled"], findings)
    findings.raise_if_refused()
    return class_names, {role: label_codes(parts[role], each, class_names, findings) for role, each in names.items()}


def _refuse_oracle_without_truth(spec: DistillationSpec, truth: NDArray[np.int32] | None, findings: Findings) -> None:
    asked = spec.control_arms is not None and "oracle" in spec.control_arms
    if asked and (truth is None or not (truth >= 0).any()):
        findings.refuse(
            "ORACLE_WITHOUT_TRUTH",
            "spec.control_arms",
            "the oracle arm removes wrong rows, which needs a filled 'truth' column in the unlabelled set; "
            "add one or leave the arm out",
        )


def _first_known(*sources: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """int32 [N]: what the first source says that knows a row. Written over the last one."""
    given = [source for source in sources if source is not None]
    known = given.pop()
    for source in reversed(given):
        np.copyto(known, source, where=source >= 0)
    return known
