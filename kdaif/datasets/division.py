"""Which rows of which data set make up each part of a job."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.classes import report_coverage
from kdaif.datasets.findings import Findings
from kdaif.datasets.part import Part
from kdaif.datasets.reading import FIELDS
from kdaif.datasets.rows import Rows
from kdaif.datasets.splits import split
from kdaif.records import DistillationSpec

PART_FIELDS = {**FIELDS, "gate": "spec.splits.gate_share"}

_FEW_ROWS = 30  # under it a share has a 95 % interval of more than 30 points


def labeled_rows(
    spec: DistillationSpec,
    parts: Mapping[str, Part],
    labels: Mapping[str, NDArray[np.int64]],
    hashes: Mapping[str, NDArray[np.uint64]],
    judged: Mapping[int, NDArray[np.float32]],
) -> dict[str, Rows]:
    """The parts with labels, each taken from its own data set or split off the one that stands in for it.

    ``judged`` is what each member of an ensemble said of all rows that V is taken from.
    """
    rows = {}
    for role, shares in _shares(spec).items():
        kept = np.flatnonzero(parts[role].keep)
        places = split(hashes[role][kept], labels[role][kept], shares, spec.training.seed)
        for name, positions in places.items():
            said = judged if name == "validation" else {}
            rows[name] = rows_of(parts[role], kept[positions], labels=labels[role], said=said)
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


def check_part(name: str, rows: Rows, class_names: tuple[str, ...], findings: Findings) -> None:
    """Refuses a part without rows, and warns of one that is too small or lacks a class."""
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


def rows_of(
    part: Part,
    positions: NDArray[np.int64],
    *,
    labels: NDArray[np.int64] | None = None,
    truth: NDArray[np.int64] | None = None,
    logits: NDArray[np.float32] | None = None,
    said: Mapping[int, NDArray[np.float32]] | None = None,
    overrides: NDArray[np.float64] | None = None,
) -> Rows:
    """The rows of a part at these positions (int64 [M]), with what is known of all its N rows."""
    return Rows(
        ids=part.ids.to_numpy(zero_copy_only=False)[positions],
        features=part.features[positions],
        labels=np.empty(0, dtype=np.int64) if labels is None else labels[positions],
        truth=None if truth is None else truth[positions],
        teacher_logits=None if logits is None else logits[positions],
        member_logits={member: values[positions] for member, values in (said or {}).items()},
        groups={name: values[positions] for name, values in part.groups.items()},
        weight_override=None if overrides is None else overrides[positions],
    )
