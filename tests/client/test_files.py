"""Files of many kinds: the same rows are the same upload, and a damaged file says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest
from kdaif_client import _files
from kdaif_client._tables import as_table, parquet_file
from kdaif_client.errors import InvalidArgument

ROWS = 150_000
TABLE = pa.table(
    {
        "city": ["Ulm", "Bern", None] * (ROWS // 3),
        "x": np.arange(ROWS) / 4,
        "n": np.arange(ROWS),
        "ok": [True, False, None] * (ROWS // 3),
    }
)


def write_csv(table: pa.Table, file: Path) -> None:
    pa_csv.write_csv(table, file)


def write_json(table: pa.Table, file: Path) -> None:
    file.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))


def write_arrow(table: pa.Table, file: Path) -> None:
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)


def write_stream(table: pa.Table, file: Path) -> None:
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)


def write_feather(table: pa.Table, file: Path) -> None:
    pa_feather.write_feather(table, file)


def write_parquet(table: pa.Table, file: Path) -> None:
    pq.write_table(table, file)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "pool.csv": write_csv,
    "pool.jsonl": write_json,
    "pool.ndjson": write_json,
    "pool.arrow": write_arrow,
    "pool.stream.arrow": write_stream,
    "pool.FEATHER": write_feather,
    "pool.parquet": write_parquet,
}


@pytest.fixture(scope="module")
def of_the_table() -> bytes:
    with parquet_file(TABLE, "pool") as file:
        return file.read_bytes()


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_are_the_same_bytes_from_every_kind_of_file(
    tmp_path: Path, of_the_table: bytes, name: str
) -> None:
    WRITERS[name](TABLE, tmp_path / name)
    with parquet_file(tmp_path / name, "pool") as file:
        assert file.read_bytes() == of_the_table
        read = pq.read_table(file)
    assert not file.exists()
    assert read["id"][ROWS - 1].as_py() == "pool-150000"
    assert read["city"].to_pylist()[:3] == ["Ulm", "Bern", None]


@pytest.mark.parametrize("name", ["pool.csv", "pool.jsonl", "pool.arrow"])
def test_ids_of_a_file_are_kept(tmp_path: Path, name: str) -> None:
    WRITERS[name](pa.table({"id": [7, 9], "x": [1.0, 2.0], "label": ["a", None]}), tmp_path / name)
    with parquet_file(str(tmp_path / name), "pool") as file:
        assert pq.read_table(file).to_pylist() == [
            {"id": 7, "x": 1.0, "label": "a"},
            {"id": 9, "x": 2.0, "label": None},
        ]


def test_a_csv_file_is_never_in_memory_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "_CSV_BLOCK_BYTES", 2**16)
    file = tmp_path / "pool.csv"
    pa_csv.write_csv(pa.table({"x": np.random.default_rng(0).normal(size=1_000_000)}), file)
    pool = pa.default_memory_pool()
    before, size = pool.bytes_allocated(), file.stat().st_size
    most = 0
    with _files.batches_of(file) as read:
        for batch in read.batches:
            most = max(most, pool.bytes_allocated() - before)
            assert batch.num_rows
    assert most < size / 2


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"features": np.eye(3, dtype=np.float32), "label": np.array(["a", "b", "a"])}
    np.savez(tmp_path / "pool.npz", **arrays)
    with parquet_file(tmp_path / "pool.npz", "pool") as file, parquet_file(arrays, "pool") as same:
        assert file.read_bytes() == same.read_bytes()
        assert pq.read_schema(file).field("features").type == pa.list_(pa.float32(), 3)
    np.savez_compressed(tmp_path / "pictures.npz", image=np.zeros((2, 4, 4, 3), np.uint8), id=np.array([1, 2]))
    with parquet_file(tmp_path / "pictures.npz", "pool") as file:
        assert pq.ParquetFile(file).schema_arrow.field("image").type == pa.fixed_shape_tensor(pa.uint8(), (4, 4, 3))


def test_an_archive_of_objects_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "pool.npz", x=np.array([{}, []], dtype=object))
    with pytest.raises(InvalidArgument, match="allow_pickle=False"), parquet_file(tmp_path / "pool.npz", "pool"):
        pass


def rows_of_kinds() -> Any:
    return {
        "size": ["S", "L", None],
        "text": ["Größe", "two words", "x"],
        "image": [b"\x89PNG\x00", b"\xff\xd8", b""],
        "ok": [True, False, None],
    }


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_categories_bytes_and_texts_survive(library: str) -> None:
    data: Any
    if library == "pandas":
        data = pd.DataFrame(rows_of_kinds())
        data["size"] = pd.Categorical(data["size"])
        data["grade"] = pd.Categorical([3, 1, 3])
    elif library == "polars":
        data = pl.DataFrame(rows_of_kinds(), schema_overrides={"size": pl.Categorical})
    else:
        data = pa.table(rows_of_kinds())
        data = data.set_column(0, "size", data["size"].dictionary_encode())
    with parquet_file(data, "rows") as file:
        read = pq.read_table(file)
    assert read.schema.field("size").type == read.schema.field("text").type == pa.string()
    assert (read.schema.field("image").type, read.schema.field("ok").type) == (pa.binary(), pa.bool_())
    for name, values in rows_of_kinds().items():
        assert read[name].to_pylist() == values
    if library == "pandas":
        assert read["grade"].to_pylist() == ["3", "1", "3"]
        assert as_table(data.assign(label=data["grade"]), "x").schema.field("label").type == pa.int64()


@pytest.mark.parametrize("name", [*WRITERS, "pool.npz"])
def test_a_file_cut_short_says_so(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "pool.npz":
        np.savez(file, x=np.arange(1000.0))
    else:
        WRITERS[name](TABLE.slice(0, 1000), file)
    whole = file.read_bytes()
    # A text file that ends between two rows is whole for all that anyone can see, so the cut is within one.
    cut = whole.rstrip().rfind(b",") - 1 if name.endswith((".csv", "json", "jsonl")) else len(whole) // 2
    file.write_bytes(whole[:cut])
    with pytest.raises(InvalidArgument, match="is not a whole"), parquet_file(file, "pool"):
        pass
    file.write_bytes(b"")
    with pytest.raises(InvalidArgument, match="is not a whole"), parquet_file(file, "pool"):
        pass


@pytest.mark.parametrize(("later", "says"), [("1.5", "begins as int64"), ("many", "'many'")])
def test_a_csv_column_that_changes_its_type_is_named_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, says: str
) -> None:
    monkeypatch.setattr(_files, "_CSV_BLOCK_BYTES", 2000)
    file = tmp_path / "t.csv"
    file.write_text("id,width\n" + "".join(f"r{row},{row}\n" for row in range(1000)) + f"last,{later}\n")
    with pytest.raises(InvalidArgument, match=says) as refused, parquet_file(file, "t"):
        pass
    (violation,) = refused.value.violations
    assert violation.field == "width"
    assert "pandas.read_csv" in violation.description
    assert "not a whole" not in str(refused.value)
