"""Texts that stay in Arrow's form, and ids among them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdaif.datasets import Strings, ids
from kdaif.datasets.ids import places_among
from kdaif.datasets.strings import text_array
from kdaif.scratch import Scratch
from tests.kdaif.datasets.conftest import MakeJob, pair

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=12)


@given(st.lists(TEXTS, max_size=4))
def test_runs_of_texts_become_one_array(tmp_path_factory: pytest.TempPathFactory, runs: list[list[str | None]]) -> None:
    whole = [text or "" for run in runs for text in run]
    for scratch in (Scratch(), Scratch(tmp_path_factory.mktemp("scratch"), most_in_memory_bytes=8)):
        for type_ in (pa.string(), pa.large_string()):
            arrays = [pa.array(["cut off", *run], type_)[1:] for run in runs]
            found: Any = text_array(partial(list, arrays), len(whole), scratch, type_)
            found.validate(full=True)
            assert (found.type, found.to_pylist()) == (type_, whole)


def test_strings_are_indexed_like_an_array_of_objects(tmp_path: Path) -> None:
    words = [f"word {place}" for place in range(20_000)]
    array = text_array(lambda: [pa.array(words)], len(words), Scratch(tmp_path, most_in_memory_bytes=8), pa.string())
    strings, objects = Strings(array), np.array(words, dtype=object)
    assert len(strings) == len(words)
    assert list(strings) == strings.tolist() == words
    assert (strings[3], strings[np.int64(-1)]) == (words[3], words[-1])
    assert strings[5:9].tolist() == words[5:9]
    assert strings[np.array([7, 7, -2])].tolist() == objects[[7, 7, -2]].tolist()
    chosen = np.arange(len(words)) % 3 == 0
    assert strings[chosen].tolist() == objects[chosen].tolist()
    assert np.array_equal(np.asarray(strings), objects)
    assert np.isin(strings, ["word 1", "no word"]).sum() == 1
    assert np.concatenate([strings, ["more"]], dtype=object)[-2:].tolist() == [words[-1], "more"]
    assert pa.array(strings).equals(array)
    assert Strings.of(words).tolist() == words


@pytest.mark.parametrize("type_", [pa.int64(), pa.string()])
@pytest.mark.parametrize("same_hash", [False, True])
def test_ids_are_found_again(type_: pa.DataType, same_hash: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if same_hash:
        monkeypatch.setattr(ids, "text_hashes", lambda texts: np.zeros(len(texts), dtype=np.uint64))
    monkeypatch.setattr(ids, "_RUN_ROWS", 3)
    there = pa.array([5, 1, -7, 4, 2**62], pa.int64()).cast(type_)
    wanted = pa.array([4, 4, 6, 2**62, 5, -7, 0], pa.int64()).cast(type_)
    assert places_among(there, wanted).tolist() == [3, 3, -1, 4, 0, 2, -1]


@pytest.mark.parametrize("same_hash", [False, True])
def test_repeated_ids_are_told_exactly(job: MakeJob, same_hash: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if same_hash:
        monkeypatch.setattr(ids, "text_hashes", lambda texts: np.zeros(len(texts), dtype=np.uint64))
    assert "DUPLICATE_ID" not in job(pair()).codes()
    names = [f"u{row}" for row in range(90)]
    names[50], names[70], names[20] = "u9", "u9", "u3"
    finding = job(pair(id=names)).finding("DUPLICATE_ID")
    assert (finding.row_count, finding.ids) == (5, ("u3", "u9"))
    numbers_ = list(range(90))
    numbers_[50] = 9
    finding = job(pair(id=numbers_)).finding("DUPLICATE_ID")
    assert (finding.row_count, finding.ids) == (2, ("9",))
