from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from kdaif.rollout import compare, paired_difference


def pair(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Champion and candidate, right in so many rows."""
    champion = [True] * both + [False] * gained + [True] * lost + [False] * neither
    candidate = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return np.array(champion), np.array(candidate)


def tango_low(gained: int, lost: int, rows: int) -> float:
    """By another way: the restricted maximum likelihood found numerically, the root by Brent's method."""

    def score(delta: float) -> float:
        grid = np.linspace(max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12, 200_001)
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = lost * np.log(grid) + gained * np.log(grid + delta)
            likelihood = likelihood + (rows - lost - gained) * np.log1p(-2 * grid - delta)
        losing = grid[np.nanargmax(likelihood)]
        return (gained - lost - rows * delta) / np.sqrt(rows * (2 * losing + delta - delta**2)) - norm.ppf(0.95)

    return float(brentq(score, -0.9, (gained - lost) / rows - 1e-9))


@pytest.mark.parametrize(("gained", "lost", "rows"), [(10, 4, 100), (30, 50, 1000), (5, 5, 60), (1, 9, 200)])
def test_the_bound_is_tangos(gained: int, lost: int, rows: int) -> None:
    found = paired_difference(*pair(rows - gained - lost, gained, lost, 0))
    assert found.difference == pytest.approx((gained - lost) / rows)
    assert found.low == pytest.approx(tango_low(gained, lost, rows), abs=2e-4)


def test_students_that_never_differ_still_have_a_bound() -> None:
    """z²/n, where Wald's interval would have no width at all."""
    found = paired_difference(*pair(100, 0, 0, 0))
    assert found.difference == 0
    assert found.low == pytest.approx(-(1.645**2) / (100 + 1.645**2), abs=1e-3)


def test_the_bound_holds_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth, held = -0.02, 0
    for _ in range(600):
        kind = generator.choice(4, size=300, p=[0.8, 0.05, 0.07, 0.08])
        champion, candidate = np.isin(kind, [0, 2]), np.isin(kind, [0, 1])
        held += paired_difference(champion, candidate).low <= truth
    assert 0.925 < held / 600 < 0.975


@pytest.mark.parametrize(
    ("both", "gained", "lost", "neither", "passes", "said"),
    [
        (1600, 60, 20, 320, True, "is not worse"),
        (1600, 40, 40, 320, True, "is not worse"),
        (1600, 20, 80, 300, False, "is worse than the champion by more than 1.00 points"),
        (160, 4, 4, 32, False, "may be worse"),
    ],
)
def test_who_is_shown_not_to_be_worse_passes(
    both: int, gained: int, lost: int, neither: int, passes: bool, said: str
) -> None:
    found = compare(*pair(both, gained, lost, neither), {})
    assert found.passed is passes
    assert said in found.sentence
    assert compare(*pair(both, gained, lost, neither), {}, margin=1.0).passed


def test_a_worst_group_that_got_worse_is_refused_by_name_and_small_ones_have_no_say() -> None:
    champion, candidate = pair(3000, 100, 20, 0)
    groups = np.array([None] * len(champion), dtype=object)
    groups[-60:] = "F"
    groups[:10] = "X"
    champion[-60:], candidate[-60:] = True, False
    found = compare(champion, candidate, {"group_sex": groups}, margin=0.05)
    assert not found.passed
    assert "60 rows of group_sex = F" in found.sentence
    assert compare(champion, candidate, {"group_sex": groups}, margin=0.05, group_margin=1.0).passed
    small = np.array([None] * len(champion), dtype=object)
    small[-29:] = "F"
    assert compare(champion, candidate, {"group_sex": small}, margin=0.05).passed


def test_rows_that_cannot_be_paired_are_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="3 rows of the champion and 2"):
        paired_difference(np.ones(3, bool), np.ones(2, bool))
