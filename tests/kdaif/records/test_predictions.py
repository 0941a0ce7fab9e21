from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kdaif.records.predictions import RowPredictions, row_hashes


def test_predictions_come_back() -> None:
    found = RowPredictions(
        rows=row_hashes(["a", 7, "ü"]),
        labels=np.array([0, 1, 1], dtype=np.int32),
        predicted=np.array([0, 0, 1], dtype=np.int32),
        class_names=("cat", "dög"),
        groups={"group_sex": np.array(["F", None, "M"], dtype=object)},
    )
    back = RowPredictions.from_parquet(found.to_parquet())
    assert back.class_names == found.class_names
    for name in ("rows", "labels", "predicted"):
        assert (getattr(back, name) == getattr(found, name)).all()
        assert getattr(back, name).dtype == getattr(found, name).dtype
    assert back.groups["group_sex"].tolist() == ["F", None, "M"]
    assert back.right.tolist() == [True, False, True]


def test_ids_hash_by_what_they_say() -> None:
    assert (row_hashes([1, 2]) == row_hashes(["1", "2"])).all()
    assert len(set(row_hashes(range(10_000)).tolist())) == 10_000


def test_other_bytes_are_no_predictions() -> None:
    with pytest.raises((KeyError, ValueError, pa.ArrowException)):
        RowPredictions.from_parquet(b"PAR1 no")
