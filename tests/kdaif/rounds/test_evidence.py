from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from kdaif.distillation import soft_log_targets
from kdaif.influence import curvature_at, influence_scores, per_unit_of_weight
from kdaif.rounds import Evidence, RoundOutcome, evidence_of, student_of
from tests.kdaif.rounds.test_train_arm import CPU, data, run, spec, wrong_targets

_DATA = data(200)
_TARGETS = wrong_targets(_DATA, 0.4)
_SPEC = spec()
_PLACES = np.arange(200)[::-1].copy()


@pytest.fixture(scope="module")
def last() -> RoundOutcome:
    return run("influence", _DATA, _SPEC, targets=_TARGETS)[-1]


def _evidence(last: RoundOutcome, places: Any = _PLACES, budget_s: float = 60.0, **changes: Any) -> Evidence:
    given = dataclasses.replace(_DATA, **changes)
    return evidence_of(last.state, given, _TARGETS, places, _SPEC, device=CPU, budget_s=budget_s)


def test_the_mean_of_a_rows_pairs_is_its_influence_through_the_last_layer(last: RoundOutcome) -> None:
    found = _evidence(last)
    student = student_of(last.state, _SPEC, _DATA)
    weights = last.state.tensors["weighting/weights"].numpy()
    labeled, pool, held_out = (torch.from_numpy(p.features) for p in (_DATA.labeled, _DATA.unlabeled, _DATA.validation))
    training = _SPEC.training
    curvature = curvature_at(
        student,
        labeled,
        pool,
        torch.from_numpy(weights),
        training=training,
        rows=_SPEC.weighting.curvature_rows,
        seed=int(last.state.numbers["seed"]),
    )
    scores = influence_scores(
        student,
        curvature,
        pool,
        soft_log_targets(torch.from_numpy(_TARGETS.logits), training),
        held_out,
        torch.from_numpy(_DATA.validation.labels),
        temperature=training.temperature,
        blocks=4,
        steps=1,
        solver="head",
        damping=found.damping,
    )
    expected = scores.shares @ per_unit_of_weight(scores.per_block, weights, training.soft_label_weight)
    means = np.concatenate([pairs.mean for pairs in found.pairs])
    np.testing.assert_allclose(means, expected[_PLACES], rtol=1e-3, atol=1e-9)


def test_a_copy_of_a_labelled_row_is_its_neighbour(last: RoundOutcome) -> None:
    features = _DATA.unlabeled.features.copy()
    features[11], features[40] = _DATA.labeled.features[3], features[70]
    found = _evidence(last, np.array([11, 40]), unlabeled=dataclasses.replace(_DATA.unlabeled, features=features))
    # Rows of L are counted first.
    assert found.nearest.places[:, 0].tolist() == [3, len(_DATA.labeled) + 70]
    assert (found.nearest.distances[:, 0] < 1e-5).all()
    assert found.nearest.searched == len(_DATA.labeled) + 200


def test_without_time_it_does_one_run_of_each_and_tells_so(last: RoundOutcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdaif.rounds.evidence._ROWS_PER_PASS", 10)
    found = _evidence(last, budget_s=1e-9)
    assert found.nearest.searched == 20
    assert len(found.pairs) == 1
    assert found.nearest.places.shape[0] == len(_PLACES)
