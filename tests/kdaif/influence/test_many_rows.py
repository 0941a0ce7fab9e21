"""More rows than are ranked, and weighted means over slabs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kdaif.scratch
from kdaif.influence import per_unit_of_weight, reliability, unit_of_weight
from kdaif.influence.blocks import ScoreSheet, split_half_reliability
from kdaif.influence.reliability import MOST_RANKED_ROWS, ranked_rows
from kdaif.workspace import Workspace


def test_up_to_so_many_rows_all_are_ranked_and_then_a_sample_without_regard_to_order() -> None:
    np.testing.assert_array_equal(ranked_rows(1000), np.arange(1000))
    assert len(ranked_rows(MOST_RANKED_ROWS)) == MOST_RANKED_ROWS
    drawn = ranked_rows(1_000_000)
    assert len(np.unique(drawn)) == MOST_RANKED_ROWS
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, ranked_rows(1_000_000))
    assert drawn.mean() == pytest.approx(500_000, rel=0.01)


def test_a_sample_tells_the_reliability_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, "MOST_RANKED_ROWS", 20_000)
    generator = np.random.default_rng(0)
    of_rows = generator.normal(size=(100_000, 1))
    scores = torch.from_numpy((of_rows + 3 * generator.normal(size=(100_000, 16))).astype(np.float32))
    sheet = ScoreSheet(100_000, 16, 2, torch.float32, Workspace(torch.device("cpu")))
    for start in range(0, 100_000, 30_000):
        rows = slice(start, min(start + 30_000, 100_000))
        sheet.write(rows, scores[rows], scores[rows, :2])
    found = sheet.scores(
        np.full(16, 1 / 16),
        solution=None,
        residual=0.0,
        solver_steps=0,
        solves_stopped=0,
        damping=1.0,
        gradient_norm=1.0,
    )
    whole = split_half_reliability(scores.numpy().T)
    # Three standard errors of a correlation of 20,000 rows.
    assert found.reliability == pytest.approx(whole, abs=3 * (1 - whole**2) / np.sqrt(20_000))
    np.testing.assert_array_equal(found.per_block, scores.numpy().T)


def test_the_unit_of_weight_over_slabs_is_that_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    influence, weights = generator.normal(size=(4, 5000)), generator.random(5000)
    whole = per_unit_of_weight(influence, weights, 0.7)
    monkeypatch.setattr(kdaif.scratch, "SLAB_BYTES", 2000)
    unit = unit_of_weight(influence, weights, 0.7)
    np.testing.assert_allclose(unit.applied(influence[:, 100:200]), whole[:, 100:200], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole @ weights, 0, atol=1e-9)
