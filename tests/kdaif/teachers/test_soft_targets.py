import dataclasses

import numpy as np
import pytest
import torch

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.errors import InvalidDataError, InvalidInputError, NonFiniteError
from kdaif.records import Cnn, ColumnTeacher, DistillationSpec, PlantedNoise, PreflightReport, Teacher, TrainedTeacher
from kdaif.records.architectures import Mlp
from kdaif.records.spec import Training
from kdaif.teachers import soft_targets
from kdaif.teachers.planted_noise import plant_noise

CPU = torch.device("cpu")
CENTRES = np.random.default_rng(9).normal(size=(3, 5)) * 3


def part(n: int, seed: int, labelled: bool = True) -> Rows:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features = (CENTRES[labels] + generator.normal(size=(n, 5))).astype(np.float32)
    return Rows(ids=np.arange(n) + 1000 * seed, features=features, labels=labels if labelled else labels[:0])


def data(teacher_logits: np.ndarray | None = None) -> DistillationData:
    unlabeled = dataclasses.replace(part(50, 4, labelled=False), teacher_logits=teacher_logits)
    return DistillationData(
        class_names=("a", "b", "c"),
        signature=InputSignature(kind="numeric", shape=(5,), columns=tuple("vwxyz")),
        labeled=part(30, 1),
        validation=part(30, 2),
        gate=part(10, 3),
        unlabeled=unlabeled,
        test=part(200, 5),
        report=PreflightReport(),
        test_is_given=True,
    )


def spec(teacher: Teacher) -> DistillationSpec:
    return DistillationSpec(
        labeled="0" * 32, unlabeled="1" * 32, teacher=teacher, training=Training(learning_rate=1e-2)
    )


def column() -> ColumnTeacher:
    return ColumnTeacher(outputs="logits", class_names=("a", "b", "c"))


def test_a_trained_teacher_knows_the_task_and_is_deterministic() -> None:
    trained = spec(Teacher(source=TrainedTeacher(architecture=Mlp(hidden_sizes=(16,)), epochs=40)))
    first, second = soft_targets(trained, data(), CPU), soft_targets(trained, data(), CPU)
    assert first.test_logits is not None
    assert (first.test_logits.argmax(1) == data().test.labels).mean() > 0.8
    assert first.logits.dtype == np.float32
    np.testing.assert_array_equal(first.logits, second.logits)
    assert first.network is not None
    assert not first.network.training
    assert sum(tensor.numel() for tensor in first.network.parameters()) == 5 * 16 + 16 + 16 * 3 + 3
    assert first.planted is None


def test_the_test_rows_have_no_say_in_the_teacher() -> None:
    trained = spec(Teacher(source=TrainedTeacher(architecture=Mlp(hidden_sizes=(8,)), epochs=10)))
    other = dataclasses.replace(data(), test=part(20, 6))
    np.testing.assert_array_equal(soft_targets(trained, data(), CPU).logits, soft_targets(trained, other, CPU).logits)


def test_a_column_is_handed_on_as_it_is() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    targets = soft_targets(spec(Teacher(source=column())), data(logits), CPU)
    np.testing.assert_array_equal(targets.logits, logits)
    assert (targets.test_logits, targets.planted, targets.network) == (None, None, None)


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(InvalidDataError):
        soft_targets(spec(Teacher(source=column())), data(), CPU)


def test_a_non_finite_target_names_the_row() -> None:
    logits = np.zeros((50, 3), dtype=np.float32)
    logits[7, 1] = np.nan
    with pytest.raises(NonFiniteError, match="ids 4007"):
        soft_targets(spec(Teacher(source=column())), data(logits), CPU)


def test_a_cnn_teacher_on_numeric_rows_is_refused_by_its_own_field() -> None:
    with pytest.raises(InvalidInputError) as refused:
        soft_targets(spec(Teacher(source=TrainedTeacher(architecture=Cnn()))), data(), CPU)
    assert refused.value.violations[0].field == "spec.teacher.train.architecture"


@pytest.mark.parametrize("kind", ["class_swap", "symmetric"])
def test_planted_noise_swaps_the_winner_in_exactly_the_share(kind: str) -> None:
    logits = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    noise = PlantedNoise.model_validate({"kind": kind, "share": 0.4})
    swapped, planted = plant_noise(logits, noise, seed=3)
    assert planted.sum() == 16
    np.testing.assert_array_equal(swapped.argmax(1) != logits.argmax(1), planted)
    np.testing.assert_array_equal(np.sort(swapped, axis=1), np.sort(logits, axis=1))
    if kind == "class_swap":
        assert ((swapped.argmax(1) - logits.argmax(1))[planted] % 4 == 1).all()
    np.testing.assert_array_equal(plant_noise(logits, noise, seed=3)[0], swapped)
    assert (plant_noise(logits, noise, seed=4)[1] != planted).any()


def test_planted_rows_are_reported() -> None:
    noise = PlantedNoise(kind="class_swap", share=0.2)
    logits = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    targets = soft_targets(spec(Teacher(source=column(), planted_noise=noise)), data(logits), CPU)
    assert targets.planted is not None
    np.testing.assert_array_equal(targets.logits.argmax(1) != logits.argmax(1), targets.planted)
