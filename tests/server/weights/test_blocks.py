from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from kdaif_server.weights.blocks import BLOCK_ROWS, Blocks, write_blocks


def _tables(names: list[int] | list[str], runs: int) -> list[pa.Table]:
    kind = pa.int64() if isinstance(names[0], int) else pa.string()
    whole = pa.table(
        {
            "id": pa.array(names, kind),
            "weight": pa.array(np.arange(len(names), dtype=np.float32)),
            "truth": pa.array([None if place % 3 else f"class {place % 7}" for place in range(len(names))]),
        }
    )
    step = -(-len(names) // runs)
    return [whole.slice(start, step) for start in range(0, len(names), step)]


@pytest.mark.parametrize("rows", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 5 * BLOCK_ROWS + 7])
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("text", [False, True])
def test_any_rows_come_back_as_they_were(tmp_path: Path, rows: int, runs: int, text: bool) -> None:
    ids = sorted(f"{7 * n:x}ü" for n in range(rows)) if text else [7 * n - 100 for n in range(rows)]
    tables = _tables(ids, runs)
    whole = pa.concat_tables(tables)
    write_blocks(tables, whole.schema, tmp_path / "a.blocks")
    blocks = Blocks(tmp_path / "a.blocks")
    generator = np.random.default_rng(rows)
    for count in (0, 1, rows, 2 * rows):
        chosen = generator.integers(rows, size=count)
        assert blocks.take(chosen).equals(whole.take(pa.array(chosen)))
        found, missing = blocks.find([ids[row] for row in chosen])
        assert found.equals(whole.take(pa.array(chosen)))
        assert not missing


def test_what_is_not_there_is_told_at_both_ends_and_between(tmp_path: Path) -> None:
    tables = _tables([10 * n for n in range(3 * BLOCK_ROWS)], 1)
    write_blocks(tables, tables[0].schema, tmp_path / "a.blocks")
    last = 10 * (3 * BLOCK_ROWS - 1)
    asked = [-1, 0, 5, 10 * BLOCK_ROWS - 1, 10 * BLOCK_ROWS, last, last + 1, 2**70, -(2**70)]
    found, missing = Blocks(tmp_path / "a.blocks").find(asked)
    assert found.column("id").to_pylist() == [0, 10 * BLOCK_ROWS, last]
    assert missing == [-1, 5, 10 * BLOCK_ROWS - 1, last + 1, 2**70, -(2**70)]


def test_a_copy_that_is_open_outlives_its_file(tmp_path: Path) -> None:
    tables = _tables(["a", "b"], 1)
    write_blocks(tables, tables[0].schema, tmp_path / "a.blocks")
    blocks = Blocks(tmp_path / "a.blocks")
    (tmp_path / "a.blocks").unlink()
    assert blocks.find(["b"])[0].column("weight").to_pylist() == [1.0]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    tables = _tables(["a", "b"], 1)

    def broken() -> Iterator[pa.Table]:
        yield tables[0]
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        write_blocks(broken(), tables[0].schema, tmp_path / "a.blocks")
    assert not list(tmp_path.iterdir())
