"""Rows in the report, as a person reads them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kdaif_worker.bundle import shown_values

from kdaif.datasets import InputSignature, Rows
from tests.kdaif.inputs import NUMERIC, TABLE, TEXT
from tests.kdaif.rounds.test_train_arm import data


@pytest.mark.parametrize(
    ("signature", "row", "told"),
    [
        (NUMERIC, [1, 2, 3], {"age": 1.0, "height": 2.0, "weight": 3.0}),
        (TABLE, [np.nan, 3, 2, 0], {"age": "none", "colour": "blue", "height": 2.0, "size": "unknown or none"}),
        (TEXT, [2, 7, 0, 0, 0, 0], {"text": "red car"}),
    ],
)
def test_values_have_their_names(signature: InputSignature, row: list[float], told: dict[str, Any]) -> None:
    features = np.array([row], dtype=np.int32 if signature.kind == "text" else np.float32)
    rows = Rows(np.arange(1), features, np.empty(0, np.int64), texts=np.array(["red car"], dtype=object))
    assert shown_values(replace(data(5), signature=signature, unlabeled=rows), 0) == told
