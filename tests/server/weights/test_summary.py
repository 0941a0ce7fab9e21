from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kdaif_server.weights.engine import Engine
from kdaif_server.weights.filters import EVERY_ROW, parse_filter
from kdaif_server.weights.summary import QUANTILES, summarize

from tests.server.weights.shards import random_columns, write_shard


def test_a_summary_is_that_of_the_rows(tmp_path: Path) -> None:
    columns = random_columns(500)
    shard = write_shard(tmp_path, range(500), columns, groups=["group_sex"], row_group_size=64)
    found = summarize(Engine(tmp_path), shard, EVERY_ROW)
    weights = columns["weight"].astype(np.float64)
    assert found.rows == 500
    assert found.effective_sample_size == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-6)
    of_weight = found.columns[0]
    assert of_weight.column == "weight"
    assert of_weight.mean == pytest.approx(weights.mean(), rel=1e-6)
    assert of_weight.quantiles == pytest.approx(np.quantile(weights, QUANTILES), rel=1e-5)
    assert sum(of_weight.counts) == 500
    assert of_weight.counts == tuple(np.histogram(weights, bins=np.array(of_weight.edges))[0])
    for summary in (*found.classes, *found.groups):
        column = summary.column or "pseudo_label"
        chosen = np.array([(name or "") == summary.name for name in columns[column]])
        assert summary.rows == chosen.sum()
        assert summary.mean_weight == pytest.approx(weights[chosen].mean(), rel=1e-6)
        assert summary.low_weight_share == pytest.approx((weights[chosen] < 0.2).mean())
    assert {each.name for each in found.groups} == {"F", "M", ""}


def test_a_filter_that_leaves_nothing_is_summarised_as_nothing(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, range(5), {})
    found = summarize(Engine(tmp_path), shard, parse_filter("weight > 9", shard.schema))
    assert (found.rows, found.effective_sample_size, found.columns, found.classes) == (0, 0.0, (), ())


def test_equal_values_make_one_bin(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, range(5), {"weight": [1.0] * 5})
    found = summarize(Engine(tmp_path), shard, EVERY_ROW)
    assert found.columns[0].counts == (5,)
