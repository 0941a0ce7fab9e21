from __future__ import annotations

import pytest

from kdaif.evaluation.scorecard import scorecard
from kdaif.records.monitoring import GroupAccuracy


def _group(name: str, rows: int, accuracy: float, column: str = "group_sex") -> GroupAccuracy:
    return GroupAccuracy(column, name, rows, accuracy, 0.0, 1.0)


def test_each_axis_is_made_of_the_figures_it_names() -> None:
    found = scorecard(
        {
            "size_kb": 1000.0,
            "ms_per_row": 1.0,
            "macro_f1": 0.8,
            "ece": 0.1,
            "reliability": 0.6,
            "canary_auroc": 0.9,
            "stability": -0.2,
            "energy_j": None,
        },
        [_group("F", 100, 0.6), _group("M", 100, 0.8), _group("X", 5, 0.1)],
    )
    assert found.sustainability == pytest.approx(0.5)
    assert found.accuracy == pytest.approx(0.85)
    assert found.fairness == pytest.approx(0.75)
    assert found.explainability == pytest.approx((0.6 + 0.8 + 0.0) / 3)
    assert found.composite == pytest.approx((0.5 + 0.85 + 0.75 + (1.4 / 3)) / 4)
    assert found.figures["gap_group_sex"] == pytest.approx(0.2)
    assert "energy_j" not in found.figures


def test_an_unknown_axis_has_no_say_in_the_composite() -> None:
    found = scorecard({"macro_f1": 0.8}, shares={"accuracy": 0.5, "fairness": 0.5})
    assert (found.sustainability, found.fairness, found.explainability) == (None, None, None)
    assert found.composite == pytest.approx(0.8)
    assert scorecard({}).composite is None


def test_the_users_shares_weigh_the_axes() -> None:
    groups = [_group("F", 50, 0.5), _group("M", 50, 1.0)]
    found = scorecard({"macro_f1": 1.0}, groups, shares={"accuracy": 0.25, "fairness": 0.75})
    assert found.composite == pytest.approx(0.25 + 0.75 * 0.5)
