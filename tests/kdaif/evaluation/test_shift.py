from __future__ import annotations

import numpy as np
import pytest

from kdaif.evaluation import Sample, distribution_shifts
from kdaif.evaluation.shift import _ROWS_AT_ONCE


def sample(rows: int, seed: int, *, shift: float = 0.0, columns: int = 40, classes: int = 4) -> Sample:
    generator = np.random.default_rng(seed)
    return Sample(
        (generator.normal(size=(rows, columns)) + shift).astype(np.float32), generator.integers(0, classes, rows)
    )


def test_figures_by_hand() -> None:
    one = Sample(np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 1.0]], np.float32), np.array([0, 0]))
    two = Sample(np.array([[3.0, 5.0, 2.0], [5.0, 5.0, 2.0]], np.float32), np.array([0, 1]))

    (shift,) = distribution_shifts({"a": one, "b": two}, 3)

    # Column 1: means 1 and 4, variances 1; column 2 never varies; column 3 is constant in each part.
    assert shift.features == pytest.approx((3 / np.sqrt(1 + 9 / 4) + 0 + 2) / 3)
    assert shift.classes == pytest.approx(0.5)
    assert shift.features_by_chance == pytest.approx(np.sqrt(2 / np.pi) * 2 / 3)
    assert (shift.first, shift.second) == ("a", "b")


def test_what_chance_gives_is_what_is_said_to_be_chance() -> None:
    found = [
        distribution_shifts({"a": sample(60, 2 * seed), "b": sample(200, 2 * seed + 1)}, 4)[0] for seed in range(200)
    ]

    assert np.mean([item.features for item in found]) == pytest.approx(found[0].features_by_chance, rel=0.05)
    by_chance = np.mean([item.classes_by_chance for item in found])
    assert np.mean([item.classes for item in found]) == pytest.approx(by_chance, rel=0.12)
    assert all(item.words.startswith("inputs alike, within chance") for item in found)


@pytest.mark.parametrize(("shift", "words"), [(0.12, "a little apart"), (0.35, "apart"), (0.9, "far apart")])
def test_words_grow_with_the_shift(shift: float, words: str) -> None:
    (found,) = distribution_shifts({"a": sample(3000, 0), "b": sample(3000, 1, shift=shift)}, 4)

    assert found.features == pytest.approx(shift, rel=0.15)
    assert found.words == f"inputs {words}; classes alike, within chance"


def test_images_of_many_rows_are_read_in_parts() -> None:
    generator = np.random.default_rng(0)
    rows = _ROWS_AT_ONCE + 10
    images = generator.integers(0, 256, (rows, 3, 2, 1), dtype=np.uint8)
    other = generator.integers(0, 128, (50, 3, 2, 1), dtype=np.uint8)
    codes = np.zeros(rows, np.int64)

    (found,) = distribution_shifts({"a": Sample(images, codes), "b": Sample(other, codes[:50])}, 1)

    flat, small = images.reshape(rows, -1).astype(np.float64), other.reshape(50, -1).astype(np.float64)
    apart = np.abs(flat.mean(0) - small.mean(0))
    spread = np.sqrt((flat.var(0) + small.var(0)) / 2 + apart**2 / 4)
    assert found.features == pytest.approx(float((apart / spread).mean()))
    assert found.classes == 0.0


def test_every_pair_once() -> None:
    parts = {name: sample(20, seed) for seed, name in enumerate("abcd")}
    pairs = [(item.first, item.second) for item in distribution_shifts(parts, 4)]
    assert pairs == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
