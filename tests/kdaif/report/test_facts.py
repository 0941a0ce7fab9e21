from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from kdaif.records.weights_table import weights_schema
from kdaif.report import most_harmful
from kdaif.report.facts import weight_facts


def table(ids: list[str] | list[int], influence: list[float | None], **columns: list[object]) -> pa.Table:
    schema = weights_schema(pa.string() if ids and isinstance(ids[0], str) else pa.int64())
    given = {"id": ids, "val_loss_change_if_upweighted": influence, "weight": [1.0] * len(ids)} | columns
    return pa.table({field.name: pa.array(given.get(field.name, [None] * len(ids)), field.type) for field in schema})


def test_most_harmful_are_the_largest_positive_influences_worst_first() -> None:
    weights = table(["a", "b", "c", "d", "e", "f"], [0.1, -5.0, 0.3, float("nan"), None, 0.0])

    assert [row["id"] for row in most_harmful(weights)] == ["c", "a"]


def test_most_harmful_breaks_ties_by_id_and_stops_at_the_count() -> None:
    weights = table([3, 1, 2, 4], [0.5, 0.5, 0.5, 0.1])

    assert [row["id"] for row in most_harmful(weights, 3)] == [1, 2, 3]


def test_facts_equal_their_definitions() -> None:
    rng = np.random.default_rng(0)
    n = 400
    weight = np.round(rng.gamma(2.0, 0.5, n), 1)  # rounded, so that there are ties
    influence = rng.normal(size=n)
    truth = [None if unknown else "a" for unknown in rng.random(n) < 0.3]
    pseudo = rng.choice(["a", "b"], n)
    weights = table(
        list(range(n)), influence.tolist(), weight=weight.tolist(), truth=truth, pseudo_label=pseudo.tolist()
    )

    facts = weight_facts(weights)

    known = np.array([name is not None for name in truth])
    wrong = known & (pseudo == "b")
    assert facts is not None
    assert (facts.rows, facts.known, facts.wrong) == (n, known.sum(), wrong.sum())
    assert facts.effective_rows == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-5)
    assert facts.harmful_share == pytest.approx((influence > 0).mean())
    assert facts.mean_weight_wrong == pytest.approx(weight[wrong].mean(), rel=1e-5)
    assert facts.mean_weight_right == pytest.approx(weight[known & ~wrong].mean(), rel=1e-5)
    assert facts.auroc == pytest.approx(roc_auc_score(wrong[known], -weight[known].astype(np.float32)))


def test_facts_without_truth_or_rows() -> None:
    facts = weight_facts(table(["a", "b"], [0.1, -0.1]))

    assert facts is not None
    assert (facts.known, facts.wrong, facts.auroc, facts.mean_weight_wrong) == (0, 0, None, None)
    assert weight_facts(table([], [])) is None


def test_facts_when_every_known_row_is_right() -> None:
    facts = weight_facts(table(["a", "b"], [0.1, -0.1], truth=["x", "y"], pseudo_label=["x", "y"]))

    assert facts is not None
    assert (facts.wrong, facts.mean_weight_right, facts.mean_weight_wrong, facts.auroc) == (0, 1.0, None, None)
