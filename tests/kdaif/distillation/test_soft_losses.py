"""Each loss against a dense reference in float64, written from probabilities as the papers do."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from kdaif.distillation import distillation_loss, log_probabilities, soft_log_targets, soft_losses, standardised
from kdaif.records.spec import Loss, Training

LOSSES: tuple[Loss, ...] = ("forward_kl", "reverse_kl", "symmetric_kl", "dkd")


def softmax(row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.exp(row) / np.exp(row).sum()


def kl(q: np.ndarray[Any, Any], p: np.ndarray[Any, Any]) -> float:
    return float(sum(a * math.log(a / b) for a, b in zip(q, p, strict=True) if a > 0))


def dense(loss: Loss, student: np.ndarray[Any, Any], teacher: np.ndarray[Any, Any], training: Training) -> float:
    """Of one row, from logits."""
    t = training.temperature
    if training.standardise_logits:
        student, teacher = ((row - row.mean()) / row.std() for row in (student, teacher))
    p, q = softmax(student / t), softmax(teacher / t)
    if loss == "forward_kl":
        return t**2 * kl(q, p)
    if loss == "reverse_kl":
        return t**2 * kl(p, q)
    if loss == "symmetric_kl":
        return t**2 * (kl(q, p) + kl(p, q)) / 2
    at = int(teacher.argmax())
    binary = kl(np.array([q[at], 1 - q[at]]), np.array([p[at], 1 - p[at]]))
    # Among the others: softmax over their logits alone, as if the target were no class.
    others = kl(softmax(np.delete(teacher, at) / t), softmax(np.delete(student, at) / t))
    return t**2 * (training.dkd_alpha * binary + training.dkd_beta * others)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_the_dense_one_per_row(loss: Loss, temperature: float, standardise: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (2 * torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    training = Training(loss=loss, temperature=temperature, standardise_logits=standardise, dkd_alpha=0.5, dkd_beta=3.0)
    found = soft_losses(student, soft_log_targets(teacher, training), training)
    expected = [dense(loss, s, t, training) for s, t in zip(student.numpy(), teacher.numpy(), strict=True)]
    # Standardising keeps a row of equal logits finite by a spread of .001, which moves others by a millionth.
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5 if standardise else 1e-10)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_in_the_logits_is_that_of_the_dense_loss(loss: Loss, standardise: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (2 * torch.randn(1, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    training = Training(loss=loss, temperature=2.0, standardise_logits=standardise)
    variable = student.clone().requires_grad_()
    soft_losses(variable, soft_log_targets(teacher, training), training).sum().backward()
    assert variable.grad is not None
    for place in range(4):
        step = np.eye(4)[place] * 1e-5
        up, down = (dense(loss, student.numpy()[0] + sign * step, teacher.numpy()[0], training) for sign in (1, -1))
        assert float(variable.grad[0, place]) == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-7)


def test_the_default_is_the_plain_distillation_loss_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)
    targets = soft_log_targets(teacher, Training())
    assert torch.equal(targets, log_probabilities(teacher, 2.0))
    assert torch.equal(soft_losses(student, targets, Training()), distillation_loss(student, targets, 2.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_that_says_what_the_teacher_says_pays_nothing(loss: Loss) -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    training = Training(loss=loss, standardise_logits=True)
    # Standardised, a scaled and shifted student says the same.
    found = soft_losses(3 * logits + 1, soft_log_targets(logits, training), training)
    torch.testing.assert_close(found, torch.zeros(5), atol=1e-5, rtol=0)
    assert (soft_losses(logits.flip(1), soft_log_targets(logits, training), training) > 0.01).all()


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_logits_and_zero_probabilities_stay_finite(loss: Loss, dtype: torch.dtype, standardise: bool) -> None:
    training = Training(loss=loss, temperature=2.0, standardise_logits=standardise)
    rows = [[900.0, 0.0, 0.0], [0.0, 900.0, 0.0], [5.0, 5.0, 5.0]]
    student = torch.tensor(rows, dtype=dtype, requires_grad=True)
    inf = torch.inf
    impossible = torch.tensor([[-inf, 0.0, -inf], [math.log(0.5), math.log(0.5), -inf], [0.0, -inf, -inf]])
    for targets in (soft_log_targets(student.detach().flip(1), training), impossible):
        student.grad = None
        losses = soft_losses(student, targets, training)
        losses.sum().backward()
        assert losses.dtype == torch.float32
        assert torch.isfinite(losses).all()
        assert (losses >= -1e-4).all()
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()


def test_standardised_rows_have_mean_zero_and_spread_one_whatever_their_size() -> None:
    row = torch.tensor([[1.0, -2.0, 4.0, 0.5]])
    for scale in (1.0, 1e3, 1e25):
        found = standardised(scale * row)
        assert float(found.mean()) == pytest.approx(0.0, abs=1e-6)
        assert float(found.std(correction=0)) == pytest.approx(1.0, rel=1e-5)
        torch.testing.assert_close(found, standardised(row), rtol=1e-5, atol=1e-6)
    assert torch.equal(standardised(torch.full((1, 3), 7.0)), torch.zeros(1, 3))


def test_decoupling_with_the_coupled_weights_is_the_forward_divergence() -> None:
    generator = torch.Generator().manual_seed(4)
    student, teacher = (torch.randn(1, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    rest = 1 - float(log_probabilities(teacher, 2.0).exp().max())
    training = Training(loss="dkd", dkd_alpha=1.0, dkd_beta=rest)
    targets = soft_log_targets(teacher, training)
    torch.testing.assert_close(soft_losses(student, targets, training), distillation_loss(student, targets, 2.0))
