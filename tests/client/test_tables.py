"""What may be uploaded, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kdaif_client._tables import as_table, parquet_file
from kdaif_client.errors import InvalidArgument, NotFound

RNG = np.random.default_rng(0)


def rows_of(kind: str) -> Any:
    if kind == "polars":
        polars = pytest.importorskip("polars")
        return polars.DataFrame({"id": ["a", "b"], "x": [1.0, 2.0], "label": ["cat", None], "group_site": ["s", "t"]})
    columns = {"id": ["a", "b"], "x": [1.0, 2.0], "label": ["cat", None], "group_site": ["s", "t"]}
    made: dict[str, Callable[[], Any]] = {
        "pandas": lambda: pd.DataFrame(columns),
        "pyarrow": lambda: pa.table(columns),
        "dict": lambda: {name: np.array(values) for name, values in columns.items()},
    }
    return made[kind]()


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "dict"])
def test_frames_of_every_library_become_the_same_table(kind: str) -> None:
    table = as_table(rows_of(kind), "rows")
    assert table.schema == pa.schema(
        {"id": pa.string(), "x": pa.float64(), "label": pa.string(), "group_site": pa.string()}
    )
    assert table.to_pylist()[1] == {"id": "b", "x": 2.0, "label": None, "group_site": "t"}


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow", "dict"])
def test_the_same_rows_are_the_same_bytes(kind: str) -> None:
    written = []
    for _ in range(2):
        with parquet_file(rows_of(kind), "rows") as file:
            written.append(file.read_bytes())
        assert not file.exists()
    assert written[0] == written[1]
    with parquet_file(rows_of("pyarrow"), "rows") as file:
        assert file.read_bytes() == written[0]


def test_more_rows_than_one_row_group_are_written_whole() -> None:
    with parquet_file({"x": np.arange(150_000.0)}, "pool") as file:
        table = pq.ParquetFile(file).read()
        assert pq.ParquetFile(file).num_row_groups == 3
    assert table.column("x").to_pylist() == list(range(150_000))
    assert table.column("id")[149_999].as_py() == "pool-150000"


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 6, 3)])
def test_uint8_pictures_become_tensors(shape: tuple[int, ...]) -> None:
    pictures = RNG.integers(0, 256, shape, dtype=np.uint8)
    with parquet_file(pictures, "digits", y=np.arange(5), ids=np.arange(5)) as file:
        table = pq.ParquetFile(file).read()
    assert table.column("image").type == pa.fixed_shape_tensor(pa.uint8(), shape[1:])
    np.testing.assert_array_equal(table.column("image").combine_chunks().to_numpy_ndarray(), pictures)
    assert table.column("label").to_pylist() == [0, 1, 2, 3, 4]
    assert table.column("id").type == pa.int64()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.bool_])
def test_matrices_become_features(dtype: type) -> None:
    matrix = RNG.integers(0, 2, (4, 3)).astype(dtype)
    table = as_table(matrix, "pool")
    assert table.column("features").type == pa.list_(pa.float32(), 3)
    assert table.column("features").to_pylist() == matrix.tolist()
    assert table.column("id").to_pylist() == ["pool-000001", "pool-000002", "pool-000003", "pool-000004"]


def test_a_dict_may_hold_pictures_teacher_outputs_and_truth() -> None:
    table = as_table(
        {
            "image": np.zeros((2, 4, 4), np.uint8),
            "teacher_logits": np.zeros((2, 3)),
            "truth": np.array([1.0, np.nan]),
        },
        "pool",
    )
    assert table.column("image").type == pa.fixed_shape_tensor(pa.uint8(), (4, 4))
    assert table.column("teacher_logits").type == pa.list_(pa.float32(), 3)
    assert table.column("truth").to_pylist() == [1.0, None]


def test_a_pandas_column_of_pictures_becomes_tensors() -> None:
    frame = pd.DataFrame({"image": [np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)]})
    assert as_table(frame, "x").column("image").type == pa.fixed_shape_tensor(pa.uint8(), (4, 4))
    frame = pd.DataFrame({"image": [np.zeros((4, 4), np.uint8), np.ones((4, 5), np.uint8)]})
    with pytest.raises(InvalidArgument, match="image has cells of different shapes"):
        as_table(frame, "x")


def test_nan_is_no_label() -> None:
    for data in (
        pd.DataFrame({"x": [1.0, 2.0, 3.0], "label": [1.0, np.nan, -1.0]}),
        pa.table({"x": [1.0, 2.0, 3.0], "label": pa.array([1.0, float("nan"), -1.0])}),
    ):
        # D14: null alone is unlabelled, -1 is a label.
        assert as_table(data, "x").column("label").to_pylist() == [1.0, None, -1.0]
    assert as_table(np.zeros((2, 1)), "x", y=np.array(["cat", None])).column("label").to_pylist() == ["cat", None]


def test_categories_and_the_pandas_index_do_not_leak() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "label": pd.Categorical(["cat", "dog"])}, index=[7, 9])
    table = as_table(frame, "x")
    assert table.schema.names == ["id", "x", "label"]
    assert table.schema.field("label").type == pa.string()
    assert table.schema.metadata is None


def test_values_beyond_float32_are_left_to_the_server_to_name() -> None:
    assert as_table(np.array([[1e300]]), "x").column("features").to_pylist() == [[float("inf")]]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((2, 4, 4)), "astype\\(numpy.uint8\\)"),
        (np.zeros((2, 4, 4, 1, 1), np.uint8), r"pictures are uint8 \[N, H, W\]"),
        (np.array([["a", "b"]]), "features is a matrix of <U1; give numbers"),
        (np.array(3.0), "features is a single value"),
        ({"x": np.zeros(2), "y": np.zeros(3)}, "different lengths"),
        ({}, "needs columns"),
        ({"x": np.array([1, "a", {}], dtype=object)}, "x cannot become a column"),
        (pd.DataFrame({0: [1.0]}), "no text"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "twice"),
        ([1, 2, 3], "is a list; upload_dataset takes pandas"),
    ],
)
def test_what_cannot_be_a_table_is_refused_with_the_fix(data: Any, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        as_table(data, "x")


def test_y_and_ids_go_with_arrays_alone() -> None:
    with pytest.raises(InvalidArgument, match="go with a numpy array"):
        as_table(pa.table({"x": [1.0]}), "x", y=[1])
    with pytest.raises(InvalidArgument, match="label"):
        as_table(np.zeros((2, 1)), "x", y=[1])


def test_files_that_are_missing_or_cut_short(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"), parquet_file(tmp_path / "nowhere.parquet", "x"):
        pass
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"id": ["a"]}), whole)
    for name, data in (("cut", whole.read_bytes()[:-1]), ("empty", b""), ("text", b"id,x\n1,2\n")):
        bad = tmp_path / name
        bad.write_bytes(data)
        with pytest.raises(InvalidArgument, match="not a whole Parquet file"), parquet_file(bad, "x"):
            pass
    with parquet_file(str(whole), "x") as file:
        assert file == whole
    assert whole.exists()
