"""From the files of a job to its parts: tables read, columns found and matched, inputs as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from kdaif.datasets.categories import report_unseen, with_categories
from kdaif.datasets.columns import TEACHER, TRUTH, WEIGHT_OVERRIDE, read_layout
from kdaif.datasets.findings import Findings
from kdaif.datasets.inputs import read_part
from kdaif.datasets.matching import check_inputs, match_layout
from kdaif.datasets.parquet import read_table
from kdaif.datasets.part import Part
from kdaif.datasets.rows import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import (
    Architecture,
    Auto,
    Bag,
    Cnn,
    ColumnTeacher,
    DistillationSpec,
    Mobilenet,
    Resnet,
    TextEncoder,
    TrainedTeacher,
)

FIELDS = {
    "labeled": "spec.labeled",
    "unlabeled": "spec.unlabeled",
    "validation": "spec.validation",
    "test": "spec.test",
    "external": "spec.external",
    "teacher": "spec.teacher.column.dataset",
}
_PARTS = ("labeled", "unlabeled", "validation", "test", "external")


def read_tables(spec: DistillationSpec, files: Mapping[str, Path], findings: Findings) -> dict[str, pa.Table]:
    """The table of each role that has one, and a finding for each file that cannot be read."""
    tables = {}
    given = spec.dataset_ids()
    with_rows = (*_PARTS, "teacher") if isinstance(spec.teacher.source, ColumnTeacher) else _PARTS
    for role in [role for role in with_rows if role in given]:
        try:
            tables[role] = read_table(files[role])
        except InvalidInputError as error:
            findings.refuse("UNREADABLE_FILE", FIELDS[role], error.violations[0].description)
    return tables


def read_parts(
    spec: DistillationSpec, tables: Mapping[str, pa.Table], findings: Findings, *, decode_pictures: bool
) -> tuple[dict[str, Part], InputSignature]:
    """The parts by role, and the signature of all of them (of texts, without the tokenizer).

    Args:
        spec: the job.
        tables: by role.
        findings: receives what is wrong; on an error there may be parts missing.
        decode_pictures: encoded pictures as pixels rather than as bytes.

    Raises:
        InvalidInputError: the columns of a data set are not those of an input.
    """
    roles = [role for role in _PARTS if role in tables]
    layouts = {role: read_layout(tables[role], spec.inputs, FIELDS[role], findings) for role in roles}
    findings.raise_if_refused()
    known = {role: layout for role, layout in layouts.items() if layout is not None}
    labeled = known["labeled"]
    check_inputs(spec.inputs, labeled, tables["labeled"].schema, findings)
    _refuse_wrong_architecture(spec, labeled.signature, findings)
    matching = []
    for role in roles:
        _report_unused(spec, role, tables[role], findings)
        if match_layout(known[role], labeled, FIELDS[role], findings):
            matching.append(role)
    # Categories are those of both sets that are trained on; where one does not fit, the job is refused anyway.
    deciding = [tables[role] for role in ("labeled", "unlabeled") if role in matching]
    signature = with_categories(labeled, deciding, spec.inputs, findings)
    parts = {}
    for role in matching:
        part = read_part(
            tables[role],
            known[role],
            signature,
            spec.inputs,
            FIELDS[role],
            findings,
            decode_pictures=decode_pictures,
        )
        if part is not None:
            parts[role] = part
            if role not in ("labeled", "unlabeled"):
                report_unseen(part, signature, findings)
    return parts, signature


def _refuse_wrong_architecture(spec: DistillationSpec, signature: InputSignature, findings: Findings) -> None:
    networks: dict[str, Architecture] = {"spec.student": spec.student}
    for position, member in enumerate(spec.teacher.members):
        if isinstance(member, TrainedTeacher):
            networks[f"{spec.teacher.member_field(position)}.architecture"] = member.architecture
    for field, network in networks.items():
        if isinstance(network, Cnn | Resnet | Mobilenet) and signature.kind != "image":
            instead = "mlp for numbers, bag or text_encoder for text"
            findings.refuse(
                f"{network.kind.upper()}_WITHOUT_IMAGES",
                field,
                f"a {network.kind} needs an 'image' column; choose {instead}",
            )
        elif isinstance(network, Bag | TextEncoder) and signature.kind != "text":
            instead = "mlp for numbers, cnn or resnet for pictures"
            findings.refuse(
                f"{network.kind.upper()}_WITHOUT_TEXT",
                field,
                f"a {network.kind} needs a 'text' column; choose {instead}",
            )
        elif signature.kind == "text" and not isinstance(network, Bag | TextEncoder | Auto):
            findings.refuse(
                f"{network.kind.upper()}_WITH_TEXT",
                field,
                f"{network.kind!r} reads no text; choose bag or text_encoder",
            )


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
