"""Weights that stay as they are."""

from __future__ import annotations

import pytest
import torch

from kdaif.records.spec import Weighting
from kdaif.rounds.freezing import Freezing
from tests.kdaif.rounds.test_train_arm import data, run, spec, wrong_targets


@pytest.mark.parametrize("option", [{"freeze_reliability": 1.0}, {"freeze_gradient_share": 0.999}])
def test_a_scoring_that_says_too_little_leaves_the_weights_of_the_first(option: dict[str, float]) -> None:
    given = data(60)
    outcomes = run("influence", given, spec(rounds_per_scoring=1, **option), targets=wrong_targets(given, 0.3))
    assert [outcome.round for outcome in outcomes if outcome.weights is not None] == [1]
    assert [outcome.metrics.get("weights_frozen") for outcome in outcomes] == [None, 1.0, 1.0]
    first, last = (outcome.state.tensors["weighting/weights"] for outcome in (outcomes[0], outcomes[-1]))
    assert first.max() > first.min()
    assert torch.equal(first, last)


def test_settled_weights_are_not_scored_again() -> None:
    given, chosen = data(60), spec(rounds_per_scoring=1, settled_stability=0.01)
    targets = wrong_targets(given, 0.3)
    outcomes = run("influence", given, chosen, targets=targets)
    assert [outcome.round for outcome in outcomes if "influence_seconds" in outcome.metrics] == [1, 2]
    assert [outcome.metrics.get("weights_settled") for outcome in outcomes] == [None, None, 1.0]
    resumed = run("influence", given, chosen, targets=targets, resume=outcomes[1].state)
    assert resumed[0].metrics.get("weights_settled") == 1.0


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        ({"reliability": 0.4, "gradient_norm": 1.0}, False),
        ({"reliability": 0.19, "gradient_norm": 1.0}, True),
        ({"reliability": 0.4, "gradient_norm": 0.09}, True),
        ({"gradient_norm": 1.0}, True),
    ],
)
def test_what_is_too_little(metrics: dict[str, float], kept: bool) -> None:
    options = Weighting(freeze_reliability=0.2, freeze_gradient_share=0.1)
    assert Freezing(first_gradient_norm=1.0).keeps_former(metrics, options) is kept
    assert not Freezing().keeps_former(metrics, options)
    assert not Freezing(first_gradient_norm=1.0).keeps_former(metrics, Weighting())
