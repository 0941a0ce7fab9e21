"""Rows kept by their largest classes, against whole rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kdaif.distillation import distillation_loss, log_probabilities
from kdaif.influence import logit_gradients
from kdaif.records.spec import Training
from kdaif.scratch import Scratch
from kdaif.top_classes import KEPT_CLASSES, MOST_WHOLE_CLASSES, Logits, TopClasses, empty_logits, softening, taken
from kdaif.top_rows import TopRows, log_targets_of
from kdaif.workspace import Workspace

_ROWS, _CLASSES, _T = 40, 3000, 2.0
_ROOM = Workspace(torch.device("cpu"))


def _teacher(spread: float = 3.0, classes: int = _CLASSES) -> NDArray[np.float32]:
    return (spread * np.random.default_rng(0).standard_normal((_ROWS, classes))).astype(np.float32)


def _kept(logits: NDArray[np.float32], *, kept: int = KEPT_CLASSES, scratch: Scratch | None = None) -> TopClasses:
    found = TopClasses.empty(len(logits), logits.shape[1], _T, scratch or Scratch(), kept=kept)
    for start in range(0, len(logits), 7):
        found[start : start + 7] = logits[start : start + 7]
    return found


def _log_softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    wide = torch.from_numpy(logits).double() / temperature
    return torch.log_softmax(wide, dim=1).numpy()


@pytest.mark.parametrize("temperature", [1.0, _T])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_the_largest_are_exact_and_the_others_keep_their_mass(spread: float, temperature: float) -> None:
    logits = _teacher(spread)
    kept = _kept(logits)
    seen = (kept if temperature == 1.0 else kept.at_temperature())[:]
    exact, found = _log_softmax(logits, temperature), _log_softmax(seen, temperature)
    order = np.argsort(logits, axis=1)
    top, tail = order[:, -KEPT_CLASSES:], order[:, :-KEPT_CLASSES]
    np.testing.assert_allclose(
        np.take_along_axis(found, top, 1), np.take_along_axis(exact, top, 1), rtol=1e-5, atol=1e-5
    )
    of_tail = np.exp(np.take_along_axis(found, tail, 1))
    np.testing.assert_allclose(of_tail.sum(1), np.exp(np.take_along_axis(exact, tail, 1)).sum(1), rtol=1e-4, atol=1e-30)
    assert (of_tail.max(1) == of_tail.min(1)).all()
    np.testing.assert_array_equal(seen.argmax(1), logits.argmax(1))


@pytest.mark.parametrize("classes", [5, KEPT_CLASSES])
def test_with_no_more_classes_than_are_kept_nothing_is_lost(classes: int) -> None:
    logits = _teacher(classes=classes)
    kept = _kept(logits)
    np.testing.assert_array_equal(kept[:], logits)
    np.testing.assert_array_equal(kept.at_temperature()[3:9], logits[3:9])
    exact = log_probabilities(torch.from_numpy(logits), _T)
    torch.testing.assert_close(log_targets_of(kept, _ROOM)[:], exact, rtol=1e-6, atol=1e-6)


def _errors(teacher: NDArray[np.float32], student: torch.Tensor) -> tuple[NDArray[np.float64], ...]:
    """Of loss and gradient in the student's logits, with the bounds of ADR 35, per row."""
    log_q = torch.from_numpy(_log_softmax(teacher, _T))
    log_kept = log_targets_of(_kept(teacher), _ROOM)[:].double()
    log_p = log_probabilities(student, _T)
    loss = distillation_loss(student, log_kept, _T) - distillation_loss(student, log_q, _T)
    gradients = [logit_gradients(student, each, _T, None) for each in (log_kept, log_q)]
    tail = log_q < log_q.topk(KEPT_CLASSES, dim=1).values[:, -1:]
    q_tail = torch.where(tail, log_q.exp(), 0.0)
    mass = q_tail.sum(1)
    of_student = torch.where(tail, log_p, -torch.inf).amax(1) - torch.where(tail, log_p, torch.inf).amin(1)
    of_teacher = torch.where(tail, log_q, -torch.inf).amax(1) - torch.where(tail, log_q, torch.inf).amin(1)
    bound = _T**2 * mass * torch.maximum(of_student, of_teacher)
    of_gradient = _T * (mass * q_tail.amax(1)).sqrt()
    sizes = gradients[1].norm(dim=1)
    return tuple(
        each.numpy()
        for each in (loss.abs(), bound, (gradients[0] - gradients[1]).norm(dim=1), of_gradient, sizes, mass)
    )


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 10.0])
def test_loss_and_gradient_are_within_the_stated_bounds(spread: float) -> None:
    student = torch.randn(_ROWS, _CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss, bound, gradient, of_gradient, _, mass = _errors(_teacher(spread), student)
    assert mass.mean() > 1e-3  # there is something to lose
    slack = 1e-4  # of float32
    assert (loss <= 2 * bound + slack).all()
    assert (gradient <= of_gradient + slack).all()


def test_of_a_teacher_that_knows_something_the_gradient_is_all_but_the_same() -> None:
    """Logits like those of a classifier of many classes: a few stand out, the others are noise of spread 1."""
    generator = np.random.default_rng(2)
    teacher = generator.standard_normal((_ROWS, 10_000)).astype(np.float32)
    for row in range(_ROWS):
        teacher[row, generator.choice(10_000, 20, replace=False)] += generator.uniform(8, 20, 20)
    student = torch.randn(_ROWS, 10_000, dtype=torch.float64)
    _, _, gradient, _, sizes, _ = _errors(teacher, student)
    assert np.median(gradient / sizes) < 0.05


def test_a_row_that_is_not_finite_stays_so() -> None:
    logits = _teacher()
    for row, value in enumerate((np.nan, np.inf, -np.inf)):
        logits[row, 17] = value
    finite = np.isfinite(_kept(logits)[:]).all(axis=1)
    np.testing.assert_array_equal(finite, np.isfinite(logits).all(axis=1))


def test_two_classes_trade_places_as_in_whole_rows() -> None:
    logits = _teacher(classes=400)
    kept, rows = _kept(logits), np.arange(_ROWS)
    winner = logits.argmax(1)
    others = (winner + np.arange(_ROWS) + 1) % 400  # kept ones and others
    kept.swap(rows, winner, others)
    logits[rows, winner], logits[rows, others] = logits[rows, others], logits[rows, winner]
    np.testing.assert_array_equal(kept[:].argmax(1), logits.argmax(1))
    np.testing.assert_allclose(kept[:].max(1), logits.max(1))
    assert (np.sort(kept.classes, axis=1)[:, 1:] > np.sort(kept.classes, axis=1)[:, :-1]).all()


def test_a_row_said_by_hand_and_classes_named_anew() -> None:
    logits = _teacher(classes=400)
    kept = _kept(logits)
    kept.say(3, 399, -0.1, -9.0)
    expected = np.full(400, -9.0, np.float32)
    expected[399] = -0.1
    np.testing.assert_array_equal(kept[np.array([3])][0], expected)
    order = np.random.default_rng(0).permutation(400)
    kept.named(order)
    np.testing.assert_array_equal(kept[:][:, order].argmax(1)[:3], logits.argmax(1)[:3])


def test_on_the_disk_as_in_memory(tmp_path: Path) -> None:
    logits = _teacher()
    on_disk = Scratch(tmp_path, most_in_memory_bytes=0)
    kept, there = _kept(logits), _kept(logits, scratch=on_disk)
    rows = np.array([7, 3, 3, 39])
    np.testing.assert_array_equal(taken(there, rows, on_disk), kept[rows])
    copy = there.copy(on_disk, more=kept.take(rows, Scratch()))
    np.testing.assert_array_equal(copy[:], np.concatenate([kept[:], kept[rows]]))
    top = log_targets_of(there, Workspace(torch.device("cpu"), on_disk))
    assert torch.equal(top.take(rows, Workspace(torch.device("cpu"), on_disk)), log_targets_of(kept, _ROOM)[:][rows])


@pytest.mark.parametrize("kind", ["logarithms", "probabilities"])
def test_tensors_keep_the_largest_and_the_sum(kind: str) -> None:
    whole = torch.log_softmax(torch.from_numpy(_teacher()), dim=1)
    top = TopRows.empty(_ROWS, _CLASSES, "logarithms" if kind == "logarithms" else "probabilities", _T, _ROOM)
    given = whole if kind == "logarithms" else whole.exp()
    top[0:10] = given[:10]
    top.put(np.arange(10, _ROWS)[::-1].copy(), given[10:].flip(0), _ROOM)
    found = top[:] if kind == "probabilities" else top[:].exp()
    torch.testing.assert_close(found.sum(1), torch.ones(_ROWS))
    largest = whole.exp().topk(KEPT_CLASSES, dim=1)
    torch.testing.assert_close(found.gather(1, largest.indices), largest.values)
    back = TopRows.from_tensors(top.tensors("said"), "said", top.kind, _ROOM)
    assert back is not None
    assert torch.equal(back[:], top[:])


def test_the_rule() -> None:
    default = Training()
    assert softening(default, MOST_WHOLE_CLASSES) is None
    assert softening(default, MOST_WHOLE_CLASSES + 1) == default.temperature
    assert softening(Training(loss="reverse_kl"), 10_000) is None
    assert softening(Training(standardise_logits=True), 10_000) is None
    assert isinstance(empty_logits(3, 300, None, Scratch()), np.ndarray)
    few: Logits = empty_logits(1000, 10_000, 2.0, Scratch())
    assert isinstance(few, TopClasses)
    assert sum(array.nbytes for array in few.arrays.values()) < 1000 * 400
