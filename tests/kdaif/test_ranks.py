"""Ranks as scipy has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from kdaif.ranks import average_ranks


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=1000),
        np.random.default_rng(1).integers(0, 5, 1000).astype(np.float32),
        np.array([np.inf, 1.0, -np.inf, np.inf, -0.0, 0.0]),
        np.array([3.0]),
        np.array([]),
        np.array([2.0, np.nan, 1.0]),
    ],
    ids=["all different", "many ties", "infinite", "one", "none", "nan"],
)
def test_ties_share_their_mean_rank_as_in_scipy(values: np.ndarray) -> None:
    assert np.array_equal(average_ranks(values), rankdata(values), equal_nan=True)
