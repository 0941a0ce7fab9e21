import numpy as np
import pytest
import torch

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records.architectures import Cnn, Mlp
from kdaif.students import build_student

NUMERIC = InputSignature(kind="numeric", shape=(3,), columns=("a", "b", "c"))


def image_signature(height: int, width: int, channels: int = 1) -> InputSignature:
    return InputSignature(kind="image", shape=(height, width, channels), columns=("image",))


def numeric_rows(n: int = 40) -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 7.0, (n, 3)).astype(np.float32)


def image_rows(height: int, width: int, channels: int = 1, n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def test_numeric_rows_are_standardised_inside() -> None:
    rows = numeric_rows()
    student = build_student(Mlp(), NUMERIC, 4, rows, seed=0)
    standardised = student.standardise(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(0), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e7])
def test_a_constant_column_stays_finite(value: float) -> None:
    rows = numeric_rows()
    rows[:, 1] = value
    student = build_student(Mlp(), NUMERIC, 4, rows, seed=0)
    assert student.scale[1] == 1
    assert torch.isfinite(student(torch.from_numpy(rows))).all()


def test_a_column_of_tiny_but_real_spread_is_not_constant() -> None:
    rows = numeric_rows()
    rows[:, 1] = (rows[:, 1] - 3) * 1e-12
    student = build_student(Mlp(), NUMERIC, 4, rows, seed=0)
    assert student.scale[1] < 1e-10


def test_images_are_standardised_per_channel_and_channels_come_first() -> None:
    rows = image_rows(8, 6, 3)
    student = build_student(Cnn(), image_signature(8, 6, 3), 4, rows, seed=0)
    standardised = student.standardise(torch.from_numpy(rows))
    assert standardised.shape == (6, 3, 8, 6)
    torch.testing.assert_close(standardised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardised.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    red = (rows[0, 2, 3, 0] / 255 - float(student.mean[0])) / float(student.scale[0])
    assert float(standardised[0, 0, 2, 3]) == pytest.approx(red, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 5), (7, 3), (28, 28), (65, 40)])
@pytest.mark.parametrize("architecture", [Mlp(hidden_sizes=(5, 4)), Cnn(channels=(4, 4, 4, 4), hidden_size=6)])
def test_any_picture_size_gives_logits_and_features(height: int, width: int, architecture: Mlp | Cnn) -> None:
    rows = torch.from_numpy(image_rows(height, width, 2))
    student = build_student(architecture, image_signature(height, width, 2), 5, rows.numpy(), seed=0).eval()
    assert student(rows).shape == (6, 5)
    assert student(rows).dtype == torch.float32
    torch.testing.assert_close(student.head(student.features(rows)), student(rows))


def test_a_large_picture_does_not_make_a_large_hidden_layer() -> None:
    student = build_student(Cnn(), image_signature(96, 96), 3, image_rows(96, 96), seed=0)
    assert sum(p.numel() for p in student.parameters()) < 200_000


def test_equal_seeds_give_equal_parameters_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (build_student(Mlp(), NUMERIC, 4, numeric_rows(), seed=s) for s in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_cnn_on_numeric_rows_is_refused_by_field() -> None:
    with pytest.raises(InvalidInputError) as refused:
        build_student(Cnn(), NUMERIC, 4, numeric_rows(), seed=0)
    assert [v.field for v in refused.value.violations] == ["spec.student"]


@pytest.mark.parametrize("architecture", [Mlp(dropout=0.5), Cnn(dropout=0.5)])
def test_eval_mode_is_deterministic(architecture: Mlp | Cnn) -> None:
    rows = torch.from_numpy(image_rows(8, 8))
    student = build_student(architecture, image_signature(8, 8), 3, rows.numpy(), seed=0).eval()
    assert torch.equal(student(rows), student(rows))
    assert torch.equal(student(rows[:1]), student(rows[:1]))
