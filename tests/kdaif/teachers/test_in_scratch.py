"""What a teacher says into scratch, slab by slab, is what it says in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kdaif.scratch
from kdaif.records.teachers import PlantedNoise, Teacher, TrainedTeacher
from kdaif.scratch import Scratch
from kdaif.teachers import soft_targets
from kdaif.teachers.outputs import mean_of_probabilities
from kdaif.teachers.planted_noise import plant_noise
from tests.kdaif.teachers.test_soft_targets import CPU, data, spec

NOISE = PlantedNoise(kind="class_swap", share=0.3)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    monkeypatch.setattr(kdaif.scratch, "SLAB_BYTES", 1000)
    return Scratch(tmp_path, most_in_memory_bytes=0)


@pytest.mark.parametrize("networks", [1, 2])
def test_a_trained_teacher(networks: int, scratch: Scratch) -> None:
    chosen = spec(Teacher(source=TrainedTeacher(epochs=3, networks=networks), planted_noise=NOISE))
    plain, lean = soft_targets(chosen, data(), CPU), soft_targets(chosen, data(), CPU, scratch=scratch)
    np.testing.assert_allclose(lean.logits, plain.logits, rtol=1e-5, atol=1e-6)
    assert plain.planted is not None
    assert lean.planted is not None
    np.testing.assert_array_equal(lean.planted, plain.planted)
    np.testing.assert_array_equal(lean.pseudo_labels(scratch), plain.logits.argmax(axis=1))


@pytest.mark.parametrize("kind", ["symmetric", "class_swap"])
def test_planted_noise_and_means_of_members(kind: str, scratch: Scratch) -> None:
    logits = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    noise = PlantedNoise(kind=kind, share=0.4)  # type: ignore[arg-type]
    swapped, planted = plant_noise(logits, noise, seed=3)
    lean, marked = plant_noise(logits, noise, 3, scratch)
    np.testing.assert_array_equal(lean, swapped)
    np.testing.assert_array_equal(marked, planted)
    assert ((swapped != logits).any(axis=1) == planted).all()
    np.testing.assert_array_equal(
        mean_of_probabilities([logits, swapped], scratch=scratch), mean_of_probabilities([logits, swapped])
    )
