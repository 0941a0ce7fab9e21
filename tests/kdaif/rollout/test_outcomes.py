from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from kdaif.rollout import Decision, Outcomes, judge
from kdaif.rollout.outcomes import confidence_sequence


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.99])
def test_the_interval_ever_misses_the_truth_in_no_more_than_its_error(truth: float) -> None:
    """Looked at after every one of 2,000 outcomes, in 400 runs: an ordinary 95 % interval misses in about half."""
    generator = np.random.default_rng(0)
    steps = np.arange(1, 2001)
    error, missed, missed_by_wald = 0.05, 0, 0
    for _ in range(400):
        right = np.cumsum(generator.random(2000) < truth)
        wrong = steps - right
        # The truth is outside where the martingale reaches 1 / error: the interval's own rule, without halving.
        ratio = betaln(1 + right, 1 + wrong) - right * np.log(truth) - wrong * np.log1p(-truth)
        missed += bool((ratio >= -np.log(error)).any())
        share = right / steps
        half = 1.96 * np.sqrt(share * (1 - share) / steps)
        missed_by_wald += bool((np.abs(share - truth) > half)[30:].any())
    assert missed / 400 <= error
    assert missed_by_wald / 400 > 0.25


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 50), (50, 50), (30, 50), (9_000, 10_000), (1, 10**7)])
def test_the_interval_is_where_the_martingale_stays_under_its_bound(right: int, total: int) -> None:
    low, high = confidence_sequence(Outcomes(right, total), 0.05)
    grid = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 4001), right / total + np.linspace(-1e-3, 1e-3, 4001)])
    grid = grid[(grid > 0) & (grid < 1)]
    log_ratio = betaln(1 + right, 1 + total - right) - right * np.log(grid) - (total - right) * np.log1p(-grid)
    inside = grid[log_ratio < np.log(20)]
    assert low <= inside.min()
    assert inside.max() <= high
    outside = grid[log_ratio >= np.log(20)]
    assert not ((outside > low + 1e-9) & (outside < high - 1e-9)).any()


def test_without_outcomes_nothing_is_known() -> None:
    verdict = judge(Outcomes(0, 0), Outcomes(0, 0))
    assert (verdict.decision, verdict.low, verdict.high) == (Decision.GO_ON, -1.0, 1.0)
    assert Outcomes(0, 0).accuracy is None
    with pytest.raises(ValueError, match="3 of 2"):
        Outcomes(3, 2)


@pytest.mark.parametrize(
    ("champion", "canary", "decision"),
    [
        (Outcomes(8_000, 10_000), Outcomes(900, 1_000), Decision.PROMOTE),
        (Outcomes(8_000, 10_000), Outcomes(700, 1_000), Decision.ROLL_BACK),
        (Outcomes(8_000, 10_000), Outcomes(805, 1_000), Decision.GO_ON),
    ],
)
def test_clear_outcomes_decide(champion: Outcomes, canary: Outcomes, decision: Decision) -> None:
    assert judge(champion, canary).decision is decision
    assert (
        judge(canary, champion).decision
        is {
            Decision.PROMOTE: Decision.ROLL_BACK,
            Decision.ROLL_BACK: Decision.PROMOTE,
            Decision.GO_ON: Decision.GO_ON,
        }[decision]
    )


@pytest.mark.parametrize(("canary_accuracy", "right_decision"), [(0.88, Decision.PROMOTE), (0.72, Decision.ROLL_BACK)])
def test_two_hundred_rollouts_end_as_they_should(canary_accuracy: float, right_decision: Decision) -> None:
    """10,000 devices, 5 % of them with the canary, one outcome each a day, looked at every day for 60 days."""
    generator = np.random.default_rng(1)
    ends = []
    for _ in range(200):
        champion, canary, decision = [0, 0], [0, 0], Decision.GO_ON
        for _ in range(60):
            champion[0] += int(generator.binomial(9_500, 0.8))
            champion[1] += 9_500
            canary[0] += int(generator.binomial(500, canary_accuracy))
            canary[1] += 500
            decision = judge(Outcomes(*champion), Outcomes(*canary)).decision
            if decision is not Decision.GO_ON:
                break
        ends.append(decision)
    assert ends.count(right_decision) > 0.95 * len(ends)
