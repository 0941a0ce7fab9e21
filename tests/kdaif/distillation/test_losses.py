import math

import pytest
import torch
from torch.nn import functional

from kdaif.distillation import blended_log_targets, distillation_loss, log_probabilities, objective, weighted_mean


def test_d1_the_divergence_is_summed_over_classes_and_scaled_by_temperature_squared() -> None:
    # K = 100, one teacher logit 3.02 ahead, student uniform, T = 1: by hand, KL = log K - entropy(q).
    n_classes, lead = 100, 3.0204
    teacher = torch.zeros(1, n_classes)
    teacher[0, 0] = lead
    top = math.exp(lead) / (math.exp(lead) + n_classes - 1)
    other = 1 / (math.exp(lead) + n_classes - 1)
    by_hand = math.log(n_classes) + top * math.log(top) + (n_classes - 1) * other * math.log(other)
    loss = distillation_loss(torch.zeros(1, n_classes), log_probabilities(teacher), 1.0)
    assert float(loss) == pytest.approx(by_hand, rel=1e-4)
    # The mean over classes, the known mistake, would be a hundredth of it.
    assert float(loss) == pytest.approx(0.340, abs=1e-3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_batch_mean_equals_torch_kl_div_batchmean_times_temperature_squared(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)
    expected = temperature**2 * functional.kl_div(
        (student / temperature).log_softmax(1),
        (teacher / temperature).log_softmax(1),
        reduction="batchmean",
        log_target=True,
    )
    losses = distillation_loss(student, log_probabilities(teacher, temperature), temperature)
    torch.testing.assert_close(losses.mean(), expected)


def test_the_gradient_keeps_its_size_as_the_temperature_grows() -> None:
    sizes = []
    for temperature in (10.0, 100.0):
        student = torch.tensor([[0.5, -0.2, 0.1]], requires_grad=True)
        teacher = torch.tensor([[1.0, 0.0, -1.0]])
        distillation_loss(student, log_probabilities(teacher, temperature), temperature).sum().backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_d9_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    student = torch.tensor([[900.0, 0.0, 0.0], [0.0, 900.0, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[0.0, 900.0, 0.0], [0.0, 900.0, 0.0]], dtype=dtype)
    losses = distillation_loss(student, log_probabilities(teacher, 2.0), 2.0)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert float(losses[1].detach()) == 0


def test_a_target_of_probability_zero_is_allowed() -> None:
    student = torch.zeros(1, 2, requires_grad=True)
    losses = distillation_loss(student, torch.tensor([[0.0, -torch.inf]]), 1.0)
    losses.sum().backward()
    assert float(losses.detach()) == pytest.approx(math.log(2))
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_d8_weights_that_are_all_zero_give_zero() -> None:
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    value = weighted_mean(losses, torch.zeros(2))
    value.backward()
    assert float(value.detach()) == 0
    assert losses.grad is not None
    assert torch.equal(losses.grad, torch.zeros(2))


def test_objective_by_hand() -> None:
    value = objective(
        torch.tensor([1.0, 3.0]),
        torch.tensor([2.0, 5.0]),
        torch.tensor([3.0, 1.0]),
        hard_label_weight=0.5,
        soft_label_weight=2.0,
    )
    assert float(value) == pytest.approx(0.5 * 2 + 2 * (6 + 5) / 4)
    alone = objective(torch.tensor([1.0, 3.0]), None, None, hard_label_weight=0.5, soft_label_weight=2.0)
    assert float(alone) == pytest.approx(1.0)


def test_blending_mixes_probabilities_and_ends_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 4, generator=generator).log_softmax(1), torch.randn(3, 4, generator=generator).log_softmax(1)
    mixed = blended_log_targets(a, b, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(mixed[0], b[0])
    torch.testing.assert_close(mixed[1].exp(), 0.25 * a[1].exp() + 0.75 * b[1].exp())
    assert torch.equal(mixed[2], a[2])
