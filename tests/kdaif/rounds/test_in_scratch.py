"""An arm whose arrays lie in scratch, worked on slab by slab, is the arm whose arrays are in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import kdaif.scratch
from kdaif.datasets import DistillationData, Rows, Strings
from kdaif.rounds import RoundOutcome, plant_canaries, student_alone, student_of, train_arm
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from tests.kdaif.rounds.test_train_arm import CPU, data, run, spec, wrong_targets

N = 700


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(kdaif.scratch, "SLAB_BYTES", 20_000)
    return Scratch(tmp_path, most_in_memory_bytes=0)


def stored(rows: Rows, scratch: Scratch) -> Rows:
    features = scratch.empty(rows.features.shape, rows.features.dtype)
    features[:] = rows.features
    return dataclasses.replace(rows, features=features)


def in_scratch(given: DistillationData, scratch: Scratch) -> DistillationData:
    parts = ("labeled", "validation", "unlabeled")
    return dataclasses.replace(given, **{name: stored(getattr(given, name), scratch) for name in parts})


def close(first: RoundOutcome, second: RoundOutcome) -> None:
    assert first.state.tensors.keys() == second.state.tensors.keys()
    for name, tensor in first.state.tensors.items():
        torch.testing.assert_close(second.state.tensors[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    assert {name: value for name, value in first.metrics.items() if "seconds" not in name} == pytest.approx(
        {name: value for name, value in second.metrics.items() if "seconds" not in name}, rel=1e-5
    )
    assert (first.weights is None) == (second.weights is None)
    if first.weights is not None and second.weights is not None:
        one, other = first.weights.table(), second.weights.table()
        assert one.schema.equals(other.schema)
        for name in one.schema.names:
            if name in ("id", "round", "pseudo_label", "student_label", "truth", "weight_override"):
                assert one[name].equals(other[name]), name
            else:
                np.testing.assert_allclose(one[name].to_numpy(), other[name].to_numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("weighting", [{}, {"solver": "cg"}, {"target": "keep"}])
def test_every_round_is_the_same(weighting: dict[str, str], scratch: Scratch) -> None:
    given = data(N)
    overrides = np.where(np.arange(N) % 50 == 3, 2.5, np.nan)
    given = dataclasses.replace(given, unlabeled=dataclasses.replace(given.unlabeled, weight_override=overrides))
    chosen, targets = spec(**weighting), wrong_targets(given, 0.4)
    plain = run("influence", given, chosen, targets=targets)
    kept = in_scratch(given, scratch)
    logits = scratch.empty(targets.logits.shape, np.float32)
    logits[:] = targets.logits
    lean = list(
        train_arm("influence", chosen, kept, SoftTargets(logits, None, None, None), seed=0, device=CPU, scratch=scratch)
    )
    assert len(plain) == len(lean)
    for first, second in zip(plain, lean, strict=True):
        close(first, second)


def test_a_round_is_resumed_from_arrays_in_scratch(scratch: Scratch) -> None:
    given, chosen = in_scratch(data(N), scratch), spec()
    targets = wrong_targets(given, 0.4)

    def trained(resume: RoundOutcome | None) -> list[RoundOutcome]:
        state = None if resume is None else resume.state
        return list(train_arm("influence", chosen, given, targets, seed=0, device=CPU, scratch=scratch, resume=state))

    whole = trained(None)
    for first, second in zip(whole[1:], trained(whole[0]), strict=True):
        close(first, second)


@pytest.mark.parametrize("texts", [True, False])
def test_rows_of_the_table_come_by_id_whatever_their_order_and_type(texts: bool, scratch: Scratch) -> None:
    given = data(N)
    numbers = np.random.default_rng(0).permutation(N)
    ids = Strings.of([f"näme {number:04d}" for number in numbers]) if texts else numbers
    given = dataclasses.replace(given, unlabeled=dataclasses.replace(given.unlabeled, ids=ids))
    targets = wrong_targets(given, 0.4)
    outcome = next(
        train_arm("influence", spec(), in_scratch(given, scratch), targets, seed=0, device=CPU, scratch=scratch)
    )
    assert outcome.weights is not None
    table = outcome.weights.table()
    assert table["id"].to_pylist() == sorted(ids.tolist())
    by_id = dict(zip(table["id"].to_pylist(), table["weight"].to_pylist(), strict=True))
    weights = outcome.state.tensors["weighting/weights"].numpy()
    np.testing.assert_allclose([by_id[name] for name in ids.tolist()], weights, rtol=1e-6)


def test_canaries_are_the_same_rows(scratch: Scratch) -> None:
    given = dataclasses.replace(data(N), gate=data(60).validation)
    targets = wrong_targets(given, 0.3)
    plain = plant_canaries(given, targets, 0)
    lean = plant_canaries(in_scratch(given, scratch), targets, 0, scratch)
    for name in ("features", "truth"):
        np.testing.assert_array_equal(getattr(lean.data.unlabeled, name), getattr(plain.data.unlabeled, name))
    np.testing.assert_array_equal(lean.targets.logits, plain.targets.logits)
    of_texts = dataclasses.replace(given.unlabeled, ids=Strings.of(given.unlabeled.ids.tolist()))
    named = plant_canaries(dataclasses.replace(given, unlabeled=of_texts), targets, 0).data.unlabeled.ids
    assert (named[0], named[N]) == (given.unlabeled.ids[0], "canary 0")
    of_numbers = dataclasses.replace(given.unlabeled, ids=np.arange(N))
    numbered = plant_canaries(dataclasses.replace(given, unlabeled=of_numbers), targets, 0).data.unlabeled.ids
    assert (numbered[N - 1], numbered[N], numbered[N + 1]) == (N - 1, -1, -2)


def test_a_student_needs_nothing_of_the_rows() -> None:
    given = data(60)
    state = run("influence", given, spec())[-1].state
    alone = student_alone(state)
    assert not any(name.startswith(("weighting", "beliefs", "optimizer")) for name in alone.tensors)
    rows = torch.from_numpy(given.test.features)
    with torch.no_grad():
        assert torch.equal(student_of(alone, spec(), given)(rows), student_of(state, spec(), given)(rows))
