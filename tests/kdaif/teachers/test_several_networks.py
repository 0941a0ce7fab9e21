"""Teachers of several networks, folds and ensembles."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kdaif.datasets import DistillationData
from kdaif.errors import InvalidInputError
from kdaif.records import ColumnTeacher, Teacher, TrainedTeacher
from kdaif.records.architectures import Mlp
from kdaif.records.spec import Training
from kdaif.records.teachers import EnsembleTeacher
from kdaif.teachers import soft_targets
from kdaif.teachers.ensemble import mixture_weights
from kdaif.teachers.folds import stratified_folds, taken
from kdaif.teachers.outputs import log_softmax, mean_of_probabilities
from kdaif.teachers.trained import train_teacher
from tests.kdaif.teachers.test_soft_targets import CPU, data, part, spec

SMALL = {"architecture": Mlp(hidden_sizes=(8,)), "epochs": 15}
TRAINING = Training(learning_rate=1e-2)


def single(seed: int, given: DistillationData) -> np.ndarray:
    training = TRAINING.model_copy(update={"seed": seed})
    return train_teacher(TrainedTeacher(**SMALL), training, given, CPU).logits(given.unlabeled.features)


def test_one_network_is_what_training_one_gives_bit_for_bit() -> None:
    said = soft_targets(spec(Teacher(source=TrainedTeacher(**SMALL))), data(), CPU)
    np.testing.assert_array_equal(said.logits, single(0, data()))
    assert said.labeled_logits is None


def test_several_networks_are_the_mean_of_their_probabilities() -> None:
    said = soft_targets(spec(Teacher(source=TrainedTeacher(**SMALL, networks=3))), data(), CPU)
    alone = [torch.softmax(torch.from_numpy(single(seed, data())), dim=1).numpy() for seed in range(3)]
    np.testing.assert_allclose(np.exp(said.logits), np.mean(alone, axis=0), rtol=1e-4, atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert (said.network, said.labeled_logits) == (None, None)


def test_rows_of_l_hear_the_network_that_never_saw_them() -> None:
    source = TrainedTeacher(**SMALL, folds=3)
    given = data()
    said = soft_targets(spec(Teacher(source=source)), given, CPU)
    assert said.labeled_logits is not None
    folds = stratified_folds(given.labeled.labels, 3, 0, "folds")
    rows = folds == 1
    blind = train_teacher(
        source,
        TRAINING.model_copy(update={"seed": 1}),
        dataclasses.replace(given, labeled=taken(given.labeled, ~rows)),
        CPU,
    )
    np.testing.assert_array_equal(said.labeled_logits[rows], blind.logits(given.labeled.features[rows]))
    assert (said.labeled_logits.argmax(1) == given.labeled.labels).mean() > 0.7
    assert said.test_logits is not None
    assert (said.test_logits.argmax(1) == given.test.labels).mean() > 0.8


def test_folds_are_alike() -> None:
    labels = np.array([0] * 31 + [1] * 9 + [2] * 2)
    folds = stratified_folds(labels, 4, 7, "folds")
    assert np.ptp(np.bincount(folds, minlength=4)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(folds[labels == label], minlength=4)) <= 1
    assert not np.array_equal(folds, stratified_folds(labels, 4, 8, "folds"))
    with pytest.raises(InvalidInputError, match="two or more for each fold"):
        stratified_folds(labels[:5], 3, 0, "folds")


def test_too_few_rows_for_the_folds_names_the_field() -> None:
    few = dataclasses.replace(data(), labeled=part(5, 1))
    with pytest.raises(InvalidInputError) as refused:
        soft_targets(spec(Teacher(source=TrainedTeacher(**SMALL, folds=5))), few, CPU)
    assert refused.value.violations[0].field == "spec.teacher.train.folds"


COLUMN = ColumnTeacher(outputs="logits", class_names=("a", "b", "c"))


def with_columns(*members: np.ndarray, validation: tuple[np.ndarray, ...] = ()) -> DistillationData:
    given = data()
    return dataclasses.replace(
        given,
        unlabeled=dataclasses.replace(given.unlabeled, member_logits=dict(enumerate(members))),
        validation=dataclasses.replace(given.validation, member_logits=dict(enumerate(validation))),
    )


def random_logits(n: int, seed: int) -> np.ndarray:
    return (4 * np.random.default_rng(seed).normal(size=(n, 3))).astype(np.float32)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    first, second = random_logits(50, 1), random_logits(50, 2)
    source = EnsembleTeacher(members=(COLUMN, COLUMN))
    said = soft_targets(spec(Teacher(source=source)), with_columns(first, second), CPU)
    wanted = (np.exp(log_softmax(first)) + np.exp(log_softmax(second))) / 2
    np.testing.assert_allclose(np.exp(said.logits), wanted, rtol=1e-4)
    assert (said.test_logits, said.network) == (None, None)


def test_a_trained_member_and_a_column() -> None:
    column = random_logits(50, 1)
    source = EnsembleTeacher(members=(COLUMN, TrainedTeacher(**SMALL)))
    said = soft_targets(spec(Teacher(source=source)), with_columns(column), CPU)
    np.testing.assert_allclose(said.logits, mean_of_probabilities([column, single(0, data())]), rtol=1e-5)


def test_a_member_that_knows_v_outweighs_one_that_guesses() -> None:
    given = data()
    right = np.where(np.eye(3)[given.validation.labels] > 0, 3.0, 0.0).astype(np.float32)
    noise = random_logits(30, 3)
    weights = mixture_weights([right, noise], given.validation.labels)
    assert weights[0] > 0.9
    np.testing.assert_allclose(weights.sum(), 1)
    first, second = random_logits(50, 1), random_logits(50, 2)
    source = EnsembleTeacher(members=(COLUMN, COLUMN), combine="by_validation")
    said = soft_targets(spec(Teacher(source=source)), with_columns(first, second, validation=(right, noise)), CPU)
    np.testing.assert_allclose(said.logits, mean_of_probabilities([first, second], weights), rtol=1e-5)


def test_the_weights_are_those_under_which_v_is_most_likely() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 200)
    # Each knows one part of the rows and guesses at the other.
    knows = np.arange(200)[:, None] < 80
    noise = np.random.default_rng(1).normal(size=(2, 200, 3))
    members = [
        (noise[member] + 5 * np.eye(3)[labels] * (knows if member else ~knows)).astype(np.float32)
        for member in range(2)
    ]

    def likelihood(share: float) -> float:
        said = mean_of_probabilities(members, np.array([share, 1 - share]))
        return float(said[np.arange(200), labels].sum())

    share = mixture_weights(members, labels)[0]
    assert 0.02 < share < 0.98
    assert likelihood(share) >= max(likelihood(other) for other in np.linspace(0.01, 0.99, 99)) - 1e-2


def test_a_member_that_is_silent_on_v_is_refused() -> None:
    source = EnsembleTeacher(members=(COLUMN, COLUMN), combine="by_validation")
    with pytest.raises(InvalidInputError) as refused:
        soft_targets(spec(Teacher(source=source)), with_columns(random_logits(50, 1), random_logits(50, 2)), CPU)
    assert refused.value.violations[0].field == "spec.teacher.ensemble.members[0].column"
    assert "choose combine 'mean'" in refused.value.violations[0].description
