import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kdaif.evaluation import auroc, auroc_stderr, chance_of_more


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_the_area_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, sought = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if sought.all() or not sought.any():
        assert auroc(scores, sought) is None
    else:
        assert auroc(scores, sought) == pytest.approx(roc_auc_score(sought, scores))


def test_the_standard_error_is_that_of_the_paper() -> None:
    # Hanley and McNeil 1982, section IV: 58 normal and 51 abnormal images, an area of .893.
    assert auroc_stderr(0.893, 51, 58) == pytest.approx(0.0324, abs=0.0005)
    assert auroc_stderr(0.5, 100, 100) < auroc_stderr(0.5, 10, 10)
    assert auroc_stderr(1.0, 10, 10) == auroc_stderr(0.0, 10, 10) == 0.0


def test_the_standard_error_is_about_the_spread_of_a_coin_s_area() -> None:
    generator = np.random.default_rng(0)
    sought = np.arange(40) < 20
    areas = [auroc(generator.normal(size=40), sought) for _ in range(2000)]
    assert auroc_stderr(0.5, 20, 20) == pytest.approx(np.std(areas), rel=0.1)


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.integers(0, 4), max_size=30))
def test_the_chance_of_more_is_counted_over_all_pairs(first: list[int], second: list[int]) -> None:
    found = chance_of_more(np.array(first, float), np.array(second, float))
    if not first or not second:
        assert found is None
    else:
        assert found == np.mean([(a > b) + (a == b) / 2 for a in first for b in second])
