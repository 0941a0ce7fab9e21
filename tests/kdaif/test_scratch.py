from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import psutil
import pytest

from kdaif.errors import UnavailableError
from kdaif.scratch import SLAB_BYTES, Scratch

_ROWS, _WIDTH = 500_000, 64  # 128 MB of float32


def _file_backed_mb() -> float:
    return psutil.Process().memory_info().shared / 1e6


def test_values_outlast_a_release_that_takes_them_out_of_memory(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    matrix = scratch.empty((_ROWS, _WIDTH), np.float32)
    before = _file_backed_mb()
    matrix[:] = np.arange(_ROWS, dtype=np.float32)[:, None]
    assert _file_backed_mb() - before > 100

    scratch.release()

    assert _file_backed_mb() - before < 20
    rows = np.random.default_rng(0).integers(_ROWS, size=1000)
    assert (matrix[rows] == rows[:, None]).all()


def test_slabs_cover_every_row_once_and_stay_small(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    matrix = scratch.empty((_ROWS, _WIDTH), np.float32)
    before = _file_backed_mb()
    seen = np.zeros(_ROWS, dtype=np.int64)
    most = 0.0
    for rows in scratch.slabs(_ROWS, 4 * _WIDTH):
        matrix[rows] = 1
        seen[rows] += 1
        most = max(most, _file_backed_mb() - before)
    assert (seen == 1).all()
    assert most < 2 * SLAB_BYTES / 1e6
    assert list(scratch.slabs(0, 8)) == []


def test_small_arrays_and_those_without_a_folder_stay_in_memory(tmp_path: Path) -> None:
    assert Scratch(tmp_path).empty((10, 2), np.float64).flags.owndata
    assert Scratch().empty((_ROWS, _WIDTH), np.uint8).flags.owndata
    assert Scratch(tmp_path).empty((10_000_000,), object).dtype == object


def test_files_have_no_name_and_end_with_the_array(tmp_path: Path) -> None:
    matrix = Scratch(tmp_path).empty((_ROWS, _WIDTH), np.float32)
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    pattern = re.compile(re.escape(str(tmp_path)))
    assert pattern.search(maps.read_text())
    del matrix
    gc.collect()
    assert not pattern.search(maps.read_text())


def test_a_disk_without_room_is_an_error_before_any_row_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no room for 400,000,000,000,000 bytes .*put the cache on a larger"):
        Scratch(tmp_path).empty((10**14, 4), np.uint8)
