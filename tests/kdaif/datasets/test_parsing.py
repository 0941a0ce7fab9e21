from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.datasets import inspect
from kdaif.datasets.hashing import content_hashes
from kdaif.datasets.labels import codes, label_text, sorted_names
from kdaif.datasets.splits import apportion, split
from kdaif.datasets.teacher import _divergence
from kdaif.errors import InvalidInputError
from kdaif.records import Column

NAMES = st.text(min_size=1, max_size=20)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53))))
def test_whole_numbers_read_the_same_in_every_type(values: list[int | None]) -> None:
    as_int = label_text(pa.chunked_array([pa.array(values, pa.int64())]))
    as_float = label_text(pa.chunked_array([pa.array(values, pa.float64())]))
    as_text = label_text(pa.chunked_array([pa.array([None if v is None else str(v) for v in values], pa.string())]))
    assert as_int.equals(as_float)
    assert as_int.equals(as_text)


@given(st.lists(st.one_of(st.none(), NAMES)), st.integers(1, 4))
def test_text_keeps_its_names_over_chunks_and_dictionaries(values: list[str | None], chunks: int) -> None:
    size = max(1, -(-len(values) // chunks))
    parts = [pa.array(values[at : at + size], pa.string()) for at in range(0, len(values), size)]
    plain = pa.chunked_array(parts, pa.string())
    assert label_text(plain).to_pylist() == values
    assert label_text(plain.dictionary_encode()).to_pylist() == values


@pytest.mark.parametrize("values", [[float("nan"), 1.0], ["", "a"], ["x" * 257, "a"], [float("inf"), 2.0]])
def test_what_is_no_name_is_null(values: list[Any]) -> None:
    assert label_text(pa.chunked_array([pa.array(values, from_pandas=False)]))[0].as_py() is None


def test_other_types_hold_no_labels() -> None:
    with pytest.raises(TypeError, match="list"):
        label_text(pa.chunked_array([pa.array([[1]])]))
    assert label_text(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
    assert label_text(pa.chunked_array([pa.array([1.5])])).to_pylist() == ["1.5"]


@given(st.lists(st.one_of(NAMES, st.integers().map(str))), st.randoms())
def test_names_sort_the_same_from_any_order(names: list[str], random: Any) -> None:
    shuffled = names.copy()
    random.shuffle(shuffled)
    ordered = sorted_names(names)
    assert ordered == sorted_names(shuffled)
    assert set(ordered) == set(names)
    if ordered:
        text = pa.array([*names, None], pa.string())
        assert [ordered[code] for code in codes(text, ordered)[:-1]] == names
        assert codes(text, ordered)[-1] == -1


@given(st.integers(0, 500), st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
def test_apportion_gives_every_row_once(rows: int, weights: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = apportion(rows, shares)
    assert sum(counts) == rows
    assert min(counts) >= (1 if rows >= len(shares) else 0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=1), st.integers(0, 2**31 - 1))
def test_split_keeps_equal_content_together(rows: list[tuple[int, int]], seed: int) -> None:
    hashes = np.array([content for content, _ in rows], dtype=np.uint64)
    labels = np.array([label for _, label in rows], dtype=np.int64)
    parts = split(hashes, labels, {"a": 0.6, "b": 0.3, "c": 0.1}, seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(rows)))
    contents = [set(hashes[positions].tolist()) for positions in parts.values()]
    assert sum(map(len, contents)) == len(set(hashes.tolist()))


def test_hash_sees_content_only() -> None:
    rows = np.array(
        [[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [np.nextafter(np.float32(0), np.float32(1)), 1.0]], np.float32
    )
    hashes = content_hashes(rows)
    assert hashes[0] == hashes[1]
    assert len(set(hashes.tolist())) == 3
    assert content_hashes(rows[::-1])[0] == hashes[3]
    assert content_hashes(np.empty((0, 4), np.float32)).size == 0


def test_divergence_of_coins() -> None:
    assert _divergence(0.3, 0.5) == 0.0
    assert _divergence(1.0, 0.5) == pytest.approx(np.log(2))
    assert _divergence(0.5, 0.0) == np.inf
    assert _divergence(0.75, 0.5) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_inspect_reads_rows_and_columns(tmp_path: Path) -> None:
    file = tmp_path / "a=1" / "data.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table({"id": ["a"], "x": [1.5]}), file)
    assert inspect(file) == (1, (Column("id", "string"), Column("x", "double")))


@given(st.floats(0, 0.999))
def test_inspect_refuses_cut_files(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    file = tmp_path_factory.mktemp("cut") / "data.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "x": [1.5, 2.5]}), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InvalidInputError, match="no readable Parquet"):
        inspect(file)


def test_inspect_does_not_hide_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "none.parquet")
