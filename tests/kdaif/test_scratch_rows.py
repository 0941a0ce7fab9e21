"""Rows taken from scratch and put there, and files that wait in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from kdaif.scratch import Scratch

_ROWS, _WIDTH = 400_000, 64  # 102 MB of float32


def _file_backed_mb() -> float:
    return psutil.Process().memory_info().shared / 1e6


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("shape", [(3000,), (3000, 1), (3000, 5), (3000, 2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
def test_rows_are_taken_and_put_as_indexing_does(
    folder: bool, shape: tuple[int, ...], dtype: type, tmp_path: Path
) -> None:
    scratch = Scratch(tmp_path if folder else None, most_in_memory_bytes=0)
    generator = np.random.default_rng(0)
    array = scratch.zeros(shape, dtype)
    assert not array.any()
    array[:] = generator.integers(0, 200, shape)
    plain = array.copy()
    rows = generator.permutation(3000)[:700]

    taken = scratch.take(array, rows)
    np.testing.assert_array_equal(taken, plain[rows])
    assert taken.dtype == array.dtype
    taken += 1  # a copy that may be changed
    scratch.put(array, rows, taken)
    plain[rows] += 1
    np.testing.assert_array_equal(array, plain)
    # Of a part of an array, and of one that no scratch made.
    np.testing.assert_array_equal(scratch.take(array[100:2000], rows[:5] % 1900), plain[100:2000][rows[:5] % 1900])
    np.testing.assert_array_equal(scratch.take(plain, rows), plain[rows])
    assert len(scratch.take(array, rows[:0])) == 0
    many = generator.integers(0, 3000, 10_000)  # more than are read at once, some of them again
    np.testing.assert_array_equal(scratch.take(array, many), plain[many])


def test_rows_that_lie_side_by_side_in_scratch_in_no_order_are_taken_all_the_same(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, most_in_memory_bytes=0)
    array = scratch.empty((5, 300), np.float32)
    array[:] = np.arange(1500).reshape(5, 300)
    np.testing.assert_array_equal(scratch.take(array.T, np.array([7, 3])), array.T[[7, 3]])
    scratch.put(array.T, np.array([7, 3]), np.zeros((2, 5), np.float32))
    assert not array[:, [3, 7]].any()


def test_random_rows_bring_no_others_into_memory(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    matrix = scratch.empty((_ROWS, _WIDTH), np.float32)
    for some in scratch.slabs(_ROWS, 4 * _WIDTH):
        matrix[some] = np.arange(some.start, some.stop, dtype=np.float32)[:, None]
    before = _file_backed_mb()
    rows = np.random.default_rng(0).integers(_ROWS, size=4096)

    found = scratch.take(matrix, rows)
    scratch.put(matrix, rows, -found)

    assert _file_backed_mb() - before < 1
    assert (matrix[rows] == -rows[:, None]).all()
    assert _file_backed_mb() - before > 50  # which is why indexing alone will not do


def test_a_spooled_file_is_in_memory_while_it_is_small_and_then_without_a_name(tmp_path: Path) -> None:
    with Scratch(tmp_path, most_in_memory_bytes=100).spooled() as file:
        file.write(b"x" * 100)
        file.write(b"y" * 100)
        file.seek(99)
        assert file.read(2) == b"xy"
        assert list(tmp_path.iterdir()) == []
    with Scratch().spooled() as file:
        file.write(b"z")
