from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdaif.datasets import DistillationData, preflight, prepare
from kdaif.records import DistillationSpec, PreflightReport

ROLE_IDS = {
    role: f"{number:032x}"
    for number, role in enumerate(["labeled", "unlabeled", "validation", "test", "external", "teacher"])
}


class Job:
    """A job over real files: tables in, report or rows out."""

    def __init__(self, folder: Path, tables: Mapping[str, pa.Table], spec: Mapping[str, Any]) -> None:
        roles = {role: ROLE_IDS[role] for role in tables if role != "teacher"}
        self.spec = DistillationSpec.model_validate({**roles, **spec})
        self.files = {}
        for role, table in tables.items():
            self.files[role] = folder / f"{role}.parquet"
            pq.write_table(table, self.files[role])

    def preflight(self) -> PreflightReport:
        return preflight(self.spec, self.files)

    def prepare(self) -> DistillationData:
        return prepare(self.spec, self.files)

    def finding(self, code: str) -> Any:
        found = [finding for finding in self.preflight().findings if finding.code == code]
        assert len(found) == 1, (code, self.preflight().findings)
        return found[0]

    def codes(self) -> set[str]:
        return {finding.code for finding in self.preflight().findings}


MakeJob = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path) -> MakeJob:
    def make(tables: Mapping[str, pa.Table], **spec: Any) -> Job:
        folder = tmp_path / f"job-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Job(folder, tables, spec)

    return make


def numbers(rows: int, *, seed: int, prefix: str = "r", classes: int = 3, labels: Any = True) -> dict[str, Any]:
    """Columns x, y, id and, unless labels is None, label: class k is a cloud around (4k, 0)."""
    generator = np.random.default_rng(seed)
    known = np.arange(rows) % classes
    columns: dict[str, Any] = {
        "id": [f"{prefix}{row}" for row in range(rows)],
        "x": 4.0 * known + generator.normal(size=rows),
        "y": generator.normal(size=rows),
    }
    if labels is True:
        columns["label"] = [f"c{label}" for label in known]
    elif labels is not None:
        columns["label"] = labels
    return columns


def pair(**unlabeled: Any) -> dict[str, pa.Table]:
    """A labelled set of 60 rows and an unlabelled set of 90, with extra columns for the latter."""
    return {
        "labeled": pa.table(numbers(60, seed=1, prefix="l")),
        "unlabeled": pa.table({**numbers(90, seed=2, prefix="u", labels=None), **unlabeled}),
    }


def column_teacher(outputs: str = "logits", names: tuple[str, ...] = ("c0", "c1", "c2"), **more: Any) -> dict[str, Any]:
    return {"source": {"kind": "column", "outputs": outputs, "class_names": names, **more}}
