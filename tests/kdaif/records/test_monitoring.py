from __future__ import annotations

import pytest
from pydantic import ValidationError

from kdaif.records.monitoring import Monitoring, ScorecardShares


def test_shares_that_are_given_are_the_only_ones() -> None:
    assert ScorecardShares().given() == {}
    assert ScorecardShares(accuracy=2, fairness=0).given() == {"accuracy": 2.0, "fairness": 0.0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scorecard_shares": {"accuracy": 0}}, "every share is 0"),
        ({"scorecard_shares": {"fairness": -1}}, "greater than or equal to 0"),
        ({"scorecard_shares": {"speed": 1}}, "speed"),
        ({"explain_ids": ["a", "a"]}, "explain_ids"),
        ({"explain_ids": [str(number) for number in range(1001)]}, "at most 1000"),
        ({"explain_seconds": -1}, "greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Monitoring.model_validate(given)
