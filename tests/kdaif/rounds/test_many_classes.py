"""Arms whose targets are kept by their largest classes, against arms with whole targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from scipy.stats import spearmanr

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import DistillationSpec, Mlp, PreflightReport, Training, Weighting
from kdaif.rounds import ArmState, RoundOutcome, plant_canaries, train_arm
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets
from kdaif.top_classes import TopClasses
from kdaif.top_rows import TopRows
from kdaif.workspace import Workspace

_CPU = torch.device("cpu")
_CLASSES, _ROWS, _T = 40, 300, 2.0
_CENTRES = 2.5 * np.random.default_rng(9).normal(size=(_CLASSES, 12))


def _part(n: int, seed: int, *, labelled: bool = True) -> Rows:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(n) % _CLASSES)
    features = (_CENTRES[labels] + generator.normal(size=(n, 12))).astype(np.float32)
    return Rows(np.arange(n) + 1000 * seed, features, labels if labelled else labels[:0], None if labelled else labels)


def _data() -> DistillationData:
    signature = InputSignature("numeric", (12,), tuple("abcdefghijkl"))
    parts = {"labeled": _part(160, 1), "validation": _part(160, 2), "gate": _part(80, 3), "test": _part(40, 5)}
    unlabeled, names = _part(_ROWS, 4, labelled=False), tuple(f"c{code:02}" for code in range(_CLASSES))
    return DistillationData(
        names, signature, unlabeled=unlabeled, report=PreflightReport(), test_is_given=True, **parts
    )


def _spec(**weighting: Any) -> DistillationSpec:
    return DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        student=Mlp(hidden_sizes=(32,)),
        training=Training(rounds=3, epochs_per_round=3, temperature=_T, learning_rate=5e-3),
        weighting=Weighting(**{"blocks": 4, "scout_epochs": 10, **weighting}),
    )


def _said(data: DistillationData) -> NDArray[np.float32]:
    """A teacher that is wrong in a third of the rows, and says something of every class."""
    assert data.unlabeled.truth is not None
    generator = np.random.default_rng(0)
    named = np.where(generator.random(_ROWS) < 1 / 3, (data.unlabeled.truth + 1) % _CLASSES, data.unlabeled.truth)
    logits = generator.normal(size=(_ROWS, _CLASSES))
    logits[np.arange(_ROWS), named] += 6
    return logits.astype(np.float32)


def _targets(data: DistillationData, kept: int | None, scratch: Scratch | None = None) -> SoftTargets:
    logits = _said(data)
    if kept is None:
        return SoftTargets(logits, None, None, None)
    top = TopClasses.empty(_ROWS, _CLASSES, _T, scratch or Scratch(), kept=kept)
    top[:] = logits
    return SoftTargets(top, None, None, None)


def _run(kept: int | None, spec: DistillationSpec, resume: ArmState | None = None) -> list[RoundOutcome]:
    data = _data()
    return list(train_arm("influence", spec, data, _targets(data, kept), seed=0, device=_CPU, resume=resume))


_WAYS: list[dict[str, Any]] = [
    {},
    {"solver": "cg"},
    {"target": "keep"},
    {"cross_fit_folds": 2},
    {"rounds_per_scoring": 1},
]


@pytest.mark.parametrize("weighting", _WAYS)
def test_with_every_class_kept_an_arm_is_that_of_whole_targets(weighting: dict[str, Any]) -> None:
    for whole, kept in zip(_run(None, _spec(**weighting)), _run(_CLASSES, _spec(**weighting)), strict=True):
        for name, tensor in whole.state.tensors.items():
            if name in kept.state.tensors:
                torch.testing.assert_close(kept.state.tensors[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        for name in ("train_loss", "validation_loss", "reliability"):
            if name in whole.metrics:
                assert kept.metrics[name] == pytest.approx(whole.metrics[name], rel=1e-3), name


@pytest.mark.parametrize("weighting", _WAYS)
def test_with_an_eighth_of_the_classes_weights_and_student_are_nearly_the_same(weighting: dict[str, Any]) -> None:
    whole, kept = (_run(n, _spec(**weighting))[-1] for n in (None, 5))
    weights = [outcome.state.tensors["weighting/weights"].numpy() for outcome in (whole, kept)]
    assert spearmanr(*weights).statistic > 0.95
    assert kept.metrics["validation_loss"] == pytest.approx(whole.metrics["validation_loss"], abs=0.05)
    assert max(tensor.numel() for tensor in kept.state.tensors.values()) < _ROWS * _CLASSES


def test_a_table_of_weights_tells_the_same_of_the_teacher() -> None:
    first, second = (_run(n, _spec())[0].weights for n in (None, 5))
    assert first is not None
    assert second is not None
    whole, kept = first.table(), second.table()
    for name in ("id", "pseudo_label", "student_label"):
        assert kept[name].equals(whole[name]), name
    # At temperature 1, with the mass of all classes, so of both the student and the teacher they are exact.
    np.testing.assert_allclose(kept["student_confidence"].to_numpy(), whole["student_confidence"].to_numpy(), rtol=1e-4)
    losses = [table["distillation_loss"].to_numpy() for table in (kept, whole)]
    assert spearmanr(*losses).statistic > 0.98  # less the information in the tails
    np.testing.assert_allclose(kept["teacher_confidence"].to_numpy(), whole["teacher_confidence"].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("weighting", [{}, {"target": "keep"}])
def test_a_resumed_arm_equals_the_uninterrupted_one(weighting: dict[str, Any]) -> None:
    whole = _run(5, _spec(**weighting))
    tensors = load(save({name: tensor.contiguous() for name, tensor in whole[0].state.tensors.items()}))
    rest = _run(5, _spec(**weighting), ArmState(tensors, whole[0].state.numbers))
    assert whole[-1].state.tensors.keys() == rest[-1].state.tensors.keys()
    for name, tensor in whole[-1].state.tensors.items():
        torch.testing.assert_close(rest[-1].state.tensors[name], tensor, rtol=1e-6, atol=1e-6, msg=name)


def test_in_scratch_as_in_memory(tmp_path: Path) -> None:
    data, scratch = _data(), Scratch(tmp_path, most_in_memory_bytes=0)
    targets = _targets(data, 5, scratch)
    lean = list(train_arm("influence", _spec(), data, targets, seed=0, device=_CPU, scratch=scratch))
    for one, other in zip(_run(5, _spec()), lean, strict=True):
        for name, tensor in one.state.tensors.items():
            torch.testing.assert_close(other.state.tensors[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_canaries_are_planted_as_among_whole_targets() -> None:
    data = _data()
    whole, kept = (plant_canaries(data, _targets(data, n), seed=3) for n in (None, 5))
    np.testing.assert_array_equal(kept.flipped, whole.flipped)
    assert isinstance(kept.targets.logits, TopClasses)
    np.testing.assert_array_equal(kept.targets.pseudo_labels(), whole.targets.pseudo_labels())
    canaries = slice(_ROWS, None)
    np.testing.assert_array_equal(kept.targets.logits[canaries].max(1), whole.targets.logits[canaries].max(1))


def test_where_the_classes_are_few_targets_stay_tensors() -> None:
    state = _run(None, _spec())[-1].state
    assert not any("." in name.rpartition("/")[2] for name in state.tensors if name.startswith("weighting"))
    assert "beliefs/probabilities" in state.tensors


def test_weighing_again_with_kept_targets_leaves_the_rows_alone() -> None:
    data = _data()
    targets = _targets(data, 5)
    assert isinstance(targets.logits, TopClasses)
    before = {name: array.copy() for name, array in targets.logits.arrays.items()}
    list(train_arm("influence", _spec(), data, targets, seed=0, device=_CPU))
    for name, array in targets.logits.arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_top_rows_say_their_shape() -> None:
    rows = TopRows.empty(3, 40_000, "logarithms", 1.0, Workspace(_CPU))
    assert rows.shape == (3, 40_000)
    assert rows.classes.dtype == torch.int32
    rows[0:1] = torch.nn.functional.one_hot(torch.tensor([39_999]), 40_000).float()
    assert int(rows[0:1].argmax()) == 39_999
