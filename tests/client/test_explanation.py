from __future__ import annotations

from dataclasses import replace

import pytest
from kdaif_client import Override, OverrideRevision, SampleWeight
from kdaif_client.explanation import explained

WEIGHT = SampleWeight("row-17", 4, 0.12, 3e-4, 1e-4, -1.5, -0.8, -2.0, "cat", 0.9, "dog", 0.75, 1.2, truth="dog")
REVISIONS = (
    OverrideRevision(1, "Ada", "a smudge", None, (Override("row-17", "ban"), Override("row-18", "ban"))),
    OverrideRevision(2, "Bo", "it is a dog", None, (Override("row-17", "relabel", class_name="dog"),)),
)


def test_an_explanation_says_the_parts_the_history_and_the_decisions() -> None:
    found = explained([replace(WEIGHT, round=2, weight=0.9), WEIGHT], REVISIONS, 2.0)
    assert found.weight == WEIGHT
    assert found.helps == pytest.approx(0.0060, abs=1e-4)  # expit(1.702 * 2 * -1.5)
    assert found.right == pytest.approx(0.1680, abs=1e-4)  # expit(2 * -0.8)
    assert str(found).split("\n") == [
        "row-17 weighs 0.120 of an average sample in round 4.",
        "Influence: more weight on it would raise the validation loss (+3.00e-04 ± 1.0e-04); factor 0.01, z -1.50.",
        "Agreement: the teacher says cat (90%), the student dog (75%); factor 0.17, z -0.80.",
        "Over the rounds: 2: 0.90, 4: 0.12.",
        "The truth is dog.",
        "Banned by Ada: a smudge",
        "Relabelled as dog by Bo: it is a dog",
    ]


def test_an_influence_within_two_standard_errors_hardly_moves_the_loss() -> None:
    weak = replace(WEIGHT, val_loss_change_if_upweighted=1.5e-4, truth=None, weight_override=0.0)
    told = str(explained([weak], (), 2.0))
    assert "would hardly move the validation loss" in told
    assert "A person gave it the weight 0" in told
    assert "truth" not in told
