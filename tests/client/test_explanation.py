from __future__ import annotations

from dataclasses import replace

import pytest
from kdaif_client import (
    Evidence,
    EvidenceSearch,
    Neighbour,
    Override,
    OverrideRevision,
    PairInfluence,
    Provenance,
    SampleWeight,
)
from kdaif_client.explanation import explained
from kdaif_client.weight_types import Difference, WeightChange

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


MADE_BY = Provenance("j1", 1, 4, 32, "head", 0.03, 0, "1.0")


@pytest.mark.parametrize(
    ("trust", "least", "told"),
    [
        (None, None, []),
        (0.0, -1.0, ["has no say in that"]),
        # 0.5 * (log(.9 / .1) + 1)
        (0.5, -1.0, ["is trusted at 50%", "That is +1.60 of this z"]),
        (0.5, None, ["is trusted at 50%"]),
    ],
)
def test_an_explanation_tells_how_far_the_teachers_own_confidence_is_trusted(
    trust: float | None, least: float | None, told: list[str]
) -> None:
    made_by = replace(MADE_BY, teacher_trust=trust, least_sureness=least)
    lines = str(explained([WEIGHT], (), 2.0, None, made_by)).split("\n")
    if not told:
        assert lines == str(explained([WEIGHT], (), 2.0)).split("\n")
        return
    assert lines[2].startswith("Agreement:")
    assert lines[3].startswith("The teacher's own confidence")
    assert all(words in lines[3] for words in told)
    assert ("of this z" in lines[3]) == (trust == 0.5 and least is not None)


def test_a_teachers_logit_is_cut_at_four() -> None:
    made_by = replace(MADE_BY, teacher_trust=0.5, least_sureness=-1.0)
    assert made_by.trust_in(1.0) == made_by.trust_in(0.9999) == pytest.approx(2.5)
    assert made_by.trust_in(0.0) == pytest.approx(-1.5)


SEARCH = EvidenceSearch(500, 40, 900, 1000, 1.5, 5.0, 0.03)


def test_an_explanation_tells_whom_a_sample_helps_and_harms_and_what_is_nearest() -> None:
    evidence = Evidence(
        chosen="harmful",
        mean=1e-4,
        helped=(),
        harmed=(PairInfluence("v-3", "cat", 2e-3), PairInfluence("v-1", "dog", 1e-3)),
        neighbours=(Neighbour("labeled", "l-2", "dog", 0.02), Neighbour("unlabeled", "row-9", "cat", 0.4)),
        search=SEARCH,
    )
    told = str(explained([WEIGHT], (), 2.0, evidence)).split("\n")
    assert told[-4:] == [
        "Helps most: no validation row.",
        "Harms most: v-3 (cat) +2.00e-03; v-1 (dog) +1.00e-03.",
        "Nearest in the student's eyes: l-2 (labeled, dog) at 0.020, nearly the same; row-9 (unlabeled, cat) at 0.400.",
        "The nearest were looked for among 900 of 1,000 rows.",
    ]


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(), "this job has explained no samples"),
        (Evidence(search=SEARCH), "kdaif rerun --explain row-17"),
        (Evidence(chosen="asked", search=SEARCH), "the 5 s of monitoring.explain_seconds were over"),
        (Evidence(chosen="asked", search=replace(SEARCH, damping=0.0)), "a head of its own (training.dual_head)"),
    ],
)
def test_what_was_not_explained_says_why_and_how_to_get_it(evidence: Evidence, words: str) -> None:
    assert words in str(explained([WEIGHT], (), 2.0, evidence))


def test_what_changed_between_two_jobs_is_told_in_lines() -> None:
    changes = tuple(WeightChange(f"row-{i}", 1.0, 0.0, "cat", "dog" if i else "cat") for i in range(6))
    assert str(Difference({"influence": 0.012}, 600, changes)).splitlines()[:4] == [
        "Accuracy, second less first: influence +1.2 points.",
        "6 of 600 samples in both jobs changed.",
        "  row-0: weight 1.0000 to 0.0000, cat",
        "  row-1: weight 1.0000 to 0.0000, cat to dog",
    ]
    assert str(Difference({}, 0, ())).endswith("0 of 0 samples in both jobs changed.")
