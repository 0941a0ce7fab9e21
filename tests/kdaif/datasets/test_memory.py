"""Data sets larger than what a check or `prepare` may hold of them: in a process of its own, whose peak is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kdaif.datasets.conftest import ROLE_IDS

_ROWS, _WIDTH, _CLASSES = 300_000, 64, 200

# Runs of 4 MB in place of 16 MB, so that a case of seconds tells reading in runs from reading whole.
_PROGRAM = """
import json, sys
from pathlib import Path
from zlib import crc32
from kdaif import scratch
scratch.SLAB_BYTES = 4 * 2**20
from kdaif.datasets import check, prepare
from kdaif.records import DistillationSpec

def peak_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

how, spec, folder = sys.argv[1], DistillationSpec.model_validate(json.loads(sys.argv[2])), Path(sys.argv[3])
place = scratch.Scratch(folder / "scratch", most_in_memory_bytes=2**20)
large = {role: folder / f"{role}.parquet" for role in spec.dataset_ids()}
small = {role: folder / f"small-{role}.parquet" for role in spec.dataset_ids()}
for files in (small, large):  # the first run loads what is loaded once
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mb()
    if how == "check":
        checked = check(spec, files)
        assert not checked.report.errors, checked.report.errors
        rows = checked.report.findings
    else:
        data = prepare(spec, files, place)
        rows = len(data.unlabeled)
print(peak_mb() - before, rows)
"""


def peak_growth_mb(how: str, spec: str, folder: Path) -> float:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how, spec, str(folder)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return float(done.stdout.split()[0])


def write(file: Path, rows: int, width: int, *, labeled: bool = False, logits: bool = False) -> None:
    """Rows group by group, with text ids; one input in a hundred is NaN."""
    generator = np.random.default_rng(crc32(file.stem.encode()))
    fields = [("id", pa.string()), *((f"x{place}", pa.float32()) for place in range(width))]
    fields += [("label", pa.string())] * labeled + [("teacher_logits", pa.list_(pa.float32(), _CLASSES))] * logits
    schema = pa.schema(fields)
    with pq.ParquetWriter(file, schema, use_dictionary=False) as writer:
        for start in range(0, rows, 50_000):
            n = min(50_000, rows - start)
            columns = [generator.standard_normal(n, dtype=np.float32) for _ in range(width)]
            columns[0][50::100] = np.nan
            table: list[object] = [pa.array([f"{file.stem} {start + row}" for row in range(n)]), *columns]
            if labeled:
                table.append([f"c{row % _CLASSES}" for row in range(n)])
            if logits:
                said = generator.standard_normal(n * _CLASSES, dtype=np.float32)
                table.append(pa.FixedSizeListArray.from_arrays(said, _CLASSES))
            writer.write_table(pa.table(table, schema=schema), row_group_size=n)


SPEC = f'{{"labeled": "{ROLE_IDS["labeled"]}", "unlabeled": "{ROLE_IDS["unlabeled"]}"%s}}'
TEACHER = ', "teacher": {"source": {"kind": "column", "outputs": "logits", "class_names": [%s]}}'


@pytest.mark.slow
@pytest.mark.parametrize("how", ["check", "prepare"])
def test_wide_rows_are_read_in_runs(tmp_path: Path, how: str) -> None:
    for name, rows in (("", _ROWS), ("small-", 2000)):
        write(tmp_path / f"{name}labeled.parquet", 2000, _WIDTH, labeled=True)
        write(tmp_path / f"{name}unlabeled.parquet", rows, _WIDTH)
    inputs_mb = _ROWS * _WIDTH * 4 / 2**20
    assert peak_growth_mb(how, SPEC % "", tmp_path) < 1.4 * inputs_mb  # 66 MB of 73; read whole: 465 MB


@pytest.mark.slow
@pytest.mark.parametrize("how", ["check", "prepare"])
def test_d19_a_wide_teacher_column_is_read_in_runs(tmp_path: Path, how: str) -> None:
    rows = 100_000
    for name, n in (("", rows), ("small-", 2000)):
        write(tmp_path / f"{name}labeled.parquet", 2000, 1, labeled=True)
        write(tmp_path / f"{name}unlabeled.parquet", n, 1, logits=True)
    spec = SPEC % (TEACHER % ", ".join(f'"c{place}"' for place in range(_CLASSES)))
    logits_mb = rows * _CLASSES * 4 / 2**20
    assert peak_growth_mb(how, spec, tmp_path) < logits_mb  # 26 MB of 76
