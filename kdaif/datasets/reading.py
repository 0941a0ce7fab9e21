"""From the files of a job to its parts: tables read, columns found and matched, inputs as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdaif.datasets.categories import report_unseen, with_categories
from kdaif.datasets.columns import LABEL, TEACHER, TRUTH, WEIGHT_OVERRIDE, quoted, read_layout
from kdaif.datasets.findings import Findings
from kdaif.datasets.inputs import read_part
from kdaif.datasets.matching import check_inputs, match_layout
from kdaif.datasets.part import Part
from kdaif.datasets.rows import InputSignature
from kdaif.datasets.table_file import TableFile
from kdaif.datasets.teacher_columns import own_columns, table_roles
from kdaif.errors import InvalidInputError
from kdaif.records import DistillationSpec, TrainedTeacher, misfits, teacher_network_of
from kdaif.scratch import Scratch

FIELDS = {
    "labeled": "spec.labeled",
    "unlabeled": "spec.unlabeled",
    "validation": "spec.validation",
    "test": "spec.test",
    "external": "spec.external",
}
_PARTS = ("labeled", "unlabeled", "validation", "test", "external")


def open_tables(spec: DistillationSpec, files: Mapping[str, Path], findings: Findings) -> dict[str, TableFile]:
    """The table of each role that has one, and a finding for each file that cannot be read."""
    tables = {}
    fields = {**FIELDS, **table_roles(spec.teacher)}  # the other roles are model files
    for role in spec.dataset_ids():
        if role in fields:
            try:
                tables[role] = TableFile.of(files[role], fields[role])
            except InvalidInputError as error:
                findings.refuse("UNREADABLE_FILE", fields[role], error.violations[0].description)
    return tables


def read_parts(
    spec: DistillationSpec, tables: Mapping[str, TableFile], findings: Findings, scratch: Scratch | None
) -> tuple[dict[str, Part], InputSignature]:
    """The parts by role, and the signature of all of them (of texts, without the tokenizer).

    Args:
        spec: the job.
        tables: by role.
        findings: receives what is wrong; on an error there may be parts missing.
        scratch: keeps the inputs; None to check them alone, encoded pictures then by their headers.

    Raises:
        InvalidInputError: the columns of a data set are not those of an input, or a file is damaged.
    """
    roles = [role for role in _PARTS if role in tables]
    _refuse_without_label({role: tables[role].schema.names for role in roles}, findings)
    findings.raise_if_refused()
    layouts = {role: read_layout(tables[role], spec.inputs, findings) for role in roles}
    findings.raise_if_refused()
    known = {role: layout for role, layout in layouts.items() if layout is not None}
    labeled = known["labeled"]
    check_inputs(spec.inputs, labeled, tables["labeled"].schema, findings)
    matching = []
    for role in roles:
        _report_unused(spec, role, tables[role], findings)
        if match_layout(known[role], labeled, FIELDS[role], findings):
            matching.append(role)
    # Categories are those of both sets that are trained on; where one does not fit, the job is refused anyway.
    deciding = [tables[role] for role in ("labeled", "unlabeled") if role in matching]
    signature = with_categories(labeled, deciding, spec.inputs, findings)
    _refuse_wrong_architecture(spec, signature, findings)
    parts = {}
    for role in matching:
        # A check needs no group of U, which has the most rows.
        keep_groups = scratch is not None or role != "unlabeled"
        part = read_part(tables[role], known[role], signature, spec.inputs, findings, scratch, keep_groups=keep_groups)
        if part is not None:
            parts[role] = part
            if role not in ("labeled", "unlabeled"):
                report_unseen(part, signature, findings)
    return parts, signature


def _refuse_without_label(columns: Mapping[str, list[str]], findings: Findings) -> None:
    """Before the sets are held against each other: a label by another name would be an input that the pool lacks."""
    for role, names in columns.items():
        if role != "unlabeled" and LABEL not in names:
            alone = [name for name in names if name not in columns["unlabeled"]]
            guess = f" (perhaps {quoted(alone)}, which the unlabelled set lacks)" if len(alone) == 1 else ""
            findings.refuse(
                "NO_LABEL", FIELDS[role], f"no 'label' column; give the column that holds the class{guess} this name"
            )


def _refuse_wrong_architecture(spec: DistillationSpec, signature: InputSignature, findings: Findings) -> None:
    networks = {"spec.student": spec.student}
    for position, member in enumerate(spec.teacher.members):
        if isinstance(member, TrainedTeacher):
            field = f"{spec.teacher.member_field(position)}.architecture"
            networks[field] = teacher_network_of(member, signature.kind)
    for field, network in networks.items():
        for place, why in misfits(network, signature.kind, signature.shape).items():
            findings.refuse("WRONG_ARCHITECTURE", field + place, why)
    if spec.training.augment and signature.kind == "numeric":
        why = (
            "augment needs images or text: there is no way to vary numbers that leaves their class alone; leave it out"
        )
        findings.refuse("AUGMENT_NUMBERS", "spec.training.augment", why)


def _report_unused(spec: DistillationSpec, role: str, table: TableFile, findings: Findings) -> None:
    used = {TRUTH} if role == "unlabeled" else set()
    if role == "unlabeled" and spec.weighting.method == "influence":
        used.add(WEIGHT_OVERRIDE)
    if role == "unlabeled":
        used |= own_columns(spec.teacher)
    unused = [name for name in (*TEACHER, TRUTH, WEIGHT_OVERRIDE) if name in table.schema.names and name not in used]
    if unused:
        findings.info(
            "COLUMN_NOT_USED",
            FIELDS[role],
            f"{', '.join(unused)} not used: this job does not ask for it here"
            + ("; a ColumnTeacher does (--teacher column:...)" if set(unused) & set(TEACHER) else ""),
        )
