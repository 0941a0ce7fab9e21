"""Which rows of which data set make up each part of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdaif.datasets.classes import listed, report_coverage
from kdaif.datasets.findings import Findings
from kdaif.datasets.part import Part
from kdaif.datasets.reading import FIELDS
from kdaif.datasets.splits import split
from kdaif.records import DistillationSpec

PART_FIELDS = {**FIELDS, "gate": "spec.splits.gate_share"}

_FEW_ROWS = 30  # under it a share has a 95 % interval of more than 30 points


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of a part lie: int64 [M], ascending, in the data set of a role."""

    role: str
    rows: NDArray[np.int64]


def divide(
    spec: DistillationSpec, parts: Mapping[str, Part], labels: Mapping[str, NDArray[np.int32]]
) -> dict[str, Places]:
    """The parts by name, each taken from its own data set or split off the one that stands in for it."""
    places = {}
    for role, shares in _shares(spec).items():
        kept = np.flatnonzero(parts[role].keep)
        found = split(parts[role].hashes[kept], labels[role][kept].astype(np.int64), shares, spec.training.seed)
        places.update({name: Places(role, kept[positions]) for name, positions in found.items()})
    return {**places, "unlabeled": Places("unlabeled", np.flatnonzero(parts["unlabeled"].keep))}


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


def check_part(name: str, labels: NDArray[np.int32], class_names: tuple[str, ...], findings: Findings) -> None:
    """Refuses a part without rows, and warns of one that is too small or lacks a class.

    Args:
        name: of the part.
        labels: int32 [N], of its rows.
        class_names: of the job.
        findings: receives what is wrong.
    """
    rows = len(labels)
    if rows:
        report_coverage(labels, class_names, PART_FIELDS[name], name, findings)
        if name != "labeled" and rows < _FEW_ROWS:
            findings.warn(
                "SMALL_PART",
                PART_FIELDS[name],
                f"the {name} part has {rows} rows, so one row moves its figures by {100 / rows:.0f} points; "
                f"give {_FEW_ROWS} or more to read anything into them",
                rows,
            )
    else:
        findings.refuse(
            "EMPTY_PART", PART_FIELDS[name], f"no row is left for the {name} part; give more labelled rows per class"
        )


def report_small_groups(name: str, part: Part, place: Places, fewest: int, findings: Findings) -> None:
    """Tells which groups of the rows that measure are too small to be judged.

    Args:
        name: of the rows; V and the test rows are looked at.
        part: of its data set.
        place: of its rows there.
        fewest: `Monitoring.fewest_group_rows`.
        findings: receives it, for each column of groups.
    """
    if name not in ("validation", "test"):
        return
    for column, names in part.groups.items():
        codes = names.codes[place.rows]
        counts = np.bincount(codes[codes >= 0], minlength=len(names.distinct))
        small = [f"{group} ({count})" for group, count in zip(names.distinct, counts, strict=True) if count < fewest]
        if small:
            findings.info(
                "SMALL_GROUP",
                PART_FIELDS[name],
                f"fewer than {fewest} {name} rows of {column} = {listed(small)}; no alarm can tell how it fares",
            )
