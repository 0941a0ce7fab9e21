import dataclasses
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load, save

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.errors import InvalidDataError, InvalidInputError
from kdaif.records import DistillationSpec, Mlp, PreflightReport, Training, Weighting
from kdaif.records.architectures import Architecture, Cnn
from kdaif.records.weights_table import weights_schema
from kdaif.rounds import ArmState, RoundOutcome, student_of, train_arm
from kdaif.teachers import SoftTargets

CPU = torch.device("cpu")
CENTRES = np.random.default_rng(9).normal(size=(3, 6)) * 1.2


def part(n: int, seed: int, kind: str = "labelled", image: bool = False) -> Rows:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features: Any = (CENTRES[labels] + generator.normal(size=(n, 6))).astype(np.float32)
    if image:
        features = np.clip(128 + 20 * features, 0, 255).astype(np.uint8).reshape(n, 2, 3, 1)
    ids: Any = np.array([f"r{seed}-{i}" for i in generator.permutation(n)], dtype=object)
    if kind == "labelled":
        return Rows(ids=ids, features=features, labels=labels)
    return Rows(ids=ids, features=features, labels=labels[:0], truth=labels)


def data(n: int = 200, image: bool = False) -> DistillationData:
    signature = InputSignature(kind="numeric", shape=(6,), columns=tuple("abcdef"))
    if image:
        signature = InputSignature(kind="image", shape=(2, 3, 1), columns=("image",))
    return DistillationData(
        class_names=("x", "y", "z"),
        signature=signature,
        labeled=part(15, 1, image=image),
        validation=part(40, 2, image=image),
        gate=part(30, 3, image=image),
        unlabeled=part(n, 4, kind="unlabelled", image=image),
        test=part(50, 5, image=image),
        report=PreflightReport(),
        test_is_given=True,
    )


def wrong_targets(given: DistillationData, share: float) -> SoftTargets:
    """A confident teacher that names the next class in a share of the rows."""
    assert given.unlabeled.truth is not None
    planted = np.random.default_rng(0).random(len(given.unlabeled)) < share
    said = np.where(planted, (given.unlabeled.truth + 1) % 3, given.unlabeled.truth)
    return SoftTargets((3.0 * np.eye(3)[said]).astype(np.float32), None, planted, None)


SMALL = Mlp(hidden_sizes=(16,))


def spec(student: Architecture = SMALL, **weighting: Any) -> DistillationSpec:
    return DistillationSpec(
        labeled="0" * 32,
        unlabeled="1" * 32,
        student=student,
        training=Training(rounds=3, epochs_per_round=4, batch_size=32, learning_rate=5e-3),
        weighting=Weighting(**weighting),
    )


def run(arm: str, given: DistillationData, chosen: DistillationSpec, **options: Any) -> list[RoundOutcome]:
    targets = options.pop("targets", None) or wrong_targets(given, 0.4)
    return list(train_arm(arm, chosen, given, targets, **{"seed": 0, "device": CPU, **options}))


def last_weights(outcomes: list[RoundOutcome]) -> pa.Table:
    return [outcome.weights.table() for outcome in outcomes if outcome.weights is not None][-1]


def assert_close(first: ArmState, second: ArmState) -> None:
    assert first.tensors.keys() == second.tensors.keys()
    assert first.numbers == second.numbers
    for name, tensor in first.tensors.items():
        torch.testing.assert_close(second.tensors[name], tensor, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("arm", ["influence", "uniform"])
@pytest.mark.parametrize("student", [Mlp(hidden_sizes=(16,), dropout=0.3), Cnn(channels=(4,), hidden_size=8)])
def test_a_resumed_arm_equals_the_uninterrupted_one(arm: str, student: Architecture) -> None:
    given, chosen = data(65, image=True), spec(student)
    whole = run(arm, given, chosen)
    # Through a file's bytes and JSON, as a checkpoint would.
    tensors, numbers = load(save(whole[0].state.tensors)), json.loads(json.dumps(whole[0].state.numbers))
    rest = run(arm, given, chosen, resume=ArmState(tensors, numbers))
    assert [outcome.round for outcome in rest] == [2, 3]
    assert_close(whole[2].state, rest[1].state)
    if arm == "influence":
        assert whole[1].weights is not None
        assert rest[0].weights is not None
        assert rest[0].weights.table().equals(whole[1].weights.table())


def test_nothing_is_left_to_do_after_the_last_round() -> None:
    given, chosen = data(40), spec()
    assert run("uniform", given, chosen, resume=run("uniform", given, chosen)[-1].state) == []


def test_an_earlier_state_is_not_changed_by_later_rounds() -> None:
    arm = train_arm("influence", spec(), data(60), wrong_targets(data(60), 0.4), seed=0, device=CPU)
    first = next(arm).state
    before = {name: tensor.clone() for name, tensor in first.tensors.items()}
    list(arm)
    assert all(torch.equal(before[name], tensor) for name, tensor in first.tensors.items())


def test_arms_of_a_seed_share_rows_steps_and_initial_parameters() -> None:
    given = data(60)
    clean = wrong_targets(given, 0.0)
    # With every pseudo-label right, the oracle keeps every row and is the uniform arm.
    uniform, oracle = (run(arm, given, spec(), targets=clean)[-1].state for arm in ("uniform", "oracle"))
    assert_close(uniform, oracle)
    # Until its first scoring, the influence arm is the uniform arm.
    unscored = spec(scout_epochs=0)
    influence, uniform = (run(arm, given, unscored, targets=clean)[0].state for arm in ("influence", "uniform"))
    students = {name for name in uniform.tensors if name.startswith("student/")}
    assert all(torch.equal(uniform.tensors[name], influence.tensors[name]) for name in students)
    for arm in ("uniform", "supervised", "influence"):
        # The scout's steps are not the student's.
        assert float(run(arm, given, spec())[-1].state.tensors["optimizer/head.weight/step"]) == 3 * 4 * 2


def test_seeds_differ() -> None:
    given = data(40)
    first, second = (run("uniform", given, spec(), seed=seed)[-1].state for seed in (0, 1))
    assert not torch.equal(first.tensors["student/head.weight"], second.tensors["student/head.weight"])


@pytest.mark.parametrize("target", ["keep", "blend"])
def test_wrong_rows_are_found_and_weigh_less(target: str) -> None:
    given = data(300)
    outcome = run("influence", given, spec(target=target))[1]
    targets = wrong_targets(given, 0.4)
    assert outcome.metrics["wrong_row_auroc"] > 0.8
    weights = outcome.state.tensors["weighting/weights"].numpy()
    assert targets.planted is not None
    assert weights[targets.planted].mean() < 0.8 * weights[~targets.planted].mean()
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)


def test_influence_beats_uniform_on_planted_noise_and_the_oracle_ignores_wrong_rows() -> None:
    given = dataclasses.replace(data(300), test=part(500, 7))
    half_wrong, accuracy = wrong_targets(given, 0.5), {}
    for arm in ("influence", "uniform", "oracle"):
        student = student_of(run(arm, given, spec(), targets=half_wrong)[-1].state, spec(), given)
        with torch.no_grad():
            predicted = student(torch.from_numpy(given.test.features)).argmax(1).numpy()
        accuracy[arm] = (predicted == given.test.labels).mean()
    assert accuracy["influence"] > accuracy["uniform"] + 0.05
    assert accuracy["oracle"] > accuracy["uniform"] + 0.05


def test_without_a_loss_on_labels_there_is_no_scout_and_the_first_round_is_uniform() -> None:
    given, chosen = data(60), spec()
    chosen = chosen.model_copy(update={"training": chosen.training.model_copy(update={"hard_label_weight": 0.0})})
    influence, uniform = (run(arm, given, chosen)[0] for arm in ("influence", "uniform"))
    assert torch.equal(influence.state.tensors["student/head.weight"], uniform.state.tensors["student/head.weight"])
    assert influence.weights is None


@pytest.mark.parametrize(
    ("weighting", "scored"),
    [
        ({}, [1, 2]),
        ({"scout_epochs": 0}, [2]),
        ({"rounds_per_scoring": 1}, [1, 2, 3]),
        ({"rounds_per_scoring": 9}, [1]),
    ],
)
def test_weights_are_renewed_before_the_rounds_of_a_scoring(weighting: dict[str, int], scored: list[int]) -> None:
    outcomes = run("influence", data(60), spec(**weighting))
    assert [outcome.round for outcome in outcomes if outcome.weights is not None] == scored
    assert [outcome.round for outcome in outcomes if "influence_seconds" in outcome.metrics] == scored


def test_the_scout_has_seen_no_pseudo_label() -> None:
    given = data(60)
    first = [run("influence", given, spec(), targets=wrong_targets(given, share))[0].weights for share in (0.0, 0.4)]
    student_labels = [rows.table().column("student_label").to_pylist() for rows in first if rows is not None]
    assert student_labels[0] == student_labels[1]
    pseudo_labels = [rows.table().column("pseudo_label").to_pylist() for rows in first if rows is not None]
    assert pseudo_labels[0] != pseudo_labels[1]


@pytest.mark.parametrize(("signal", "factor"), [("influence", "z_influence"), ("agreement", "z_agreement")])
def test_one_signal_alone_makes_the_weights(signal: str, factor: str) -> None:
    table = last_weights(run("influence", data(80), spec(signals=signal)))
    z, weights = table.column(factor).to_numpy(), table.column("weight").to_numpy()
    order = np.argsort(z)
    assert (np.diff(weights[order]) >= -1e-6).all()


def test_the_parts_of_a_weight_give_the_weight() -> None:
    outcomes = run("influence", data(80), spec(target="keep"))
    table = last_weights(outcomes)
    z_influence, z_agreement, log_odds, weight = (
        table.column(name).to_numpy().astype(np.float64)
        for name in ("z_influence", "z_agreement", "log_odds", "weight")
    )
    kept = 1 / (1 + np.exp(-1.702 * 2 * z_influence)) / (1 + np.exp(-2 * z_agreement))
    np.testing.assert_allclose(weight, kept / kept.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), kept, rtol=1e-4, atol=1e-6)
    ratio = -table.column("val_loss_change_if_upweighted").to_numpy() / table.column("stderr").to_numpy()
    reliability = outcomes[1].metrics["reliability"]
    assert 0 < reliability < 1
    shrunk = np.sqrt(2 * reliability / (1 + reliability)) * np.clip(ratio, -4, 4)
    np.testing.assert_allclose(z_influence, shrunk, rtol=1e-4, atol=1e-4)


def test_blended_weights_keep_half_of_a_row_that_is_not_believed() -> None:
    table = last_weights(run("influence", data(80), spec()))
    z_influence, z_agreement, weight = (
        table.column(name).to_numpy().astype(np.float64) for name in ("z_influence", "z_agreement", "weight")
    )
    kept = np.maximum(1 / (1 + np.exp(-2 * z_agreement)), 0.5) / (1 + np.exp(-1.702 * 2 * z_influence))
    np.testing.assert_allclose(weight, kept / kept.mean(), rtol=1e-4, atol=1e-6)


def test_the_weights_table_holds_the_schema_sorted_by_id() -> None:
    given = data(50)
    outcomes = run("influence", given, spec())
    assert outcomes[1].weights is not None
    table = outcomes[1].weights.table()
    assert table.schema.equals(weights_schema(pa.string()))
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == sorted(given.unlabeled.ids.tolist())
    assert {row["round"] for row in rows} == {2}
    at = {row_id: place for place, row_id in enumerate(given.unlabeled.ids.tolist())}
    weights = outcomes[1].state.tensors["weighting/weights"]
    targets = wrong_targets(given, 0.4)
    assert given.unlabeled.truth is not None
    for row in rows:
        place = at[row["id"]]
        assert row["weight"] == pytest.approx(float(weights[place]), rel=1e-6)
        assert row["pseudo_label"] == "xyz"[targets.logits[place].argmax()]
        assert row["truth"] == "xyz"[given.unlabeled.truth[place]]
        assert row["teacher_confidence"] == pytest.approx(np.exp(3) / (np.exp(3) + 2), rel=1e-5)
        assert 1 / 3 <= row["student_confidence"] <= 1
        assert row["stderr"] >= 0


def test_integer_ids_and_unknown_truth() -> None:
    given = data(50)
    truth = np.where(np.arange(50) < 30, -1, given.unlabeled.truth)
    unlabeled = dataclasses.replace(given.unlabeled, ids=np.arange(50)[::-1].copy(), truth=truth)
    given = dataclasses.replace(given, unlabeled=unlabeled)
    targets = wrong_targets(data(50), 0.4)
    table = last_weights(run("influence", given, spec(), targets=targets))
    assert table.column("id").to_pylist() == list(range(50))
    assert table.column("truth").null_count == 30
    oracle = run("oracle", given, spec(), targets=targets)[-1].state.tensors["weighting/weights"].numpy()
    assert (oracle[:30] == 0).all()
    assert 0 < oracle[30:].sum() < 20


def test_metrics_are_finite_numbers_for_json() -> None:
    given = data(60)
    influence, uniform = run("influence", given, spec())[1].metrics, run("uniform", given, spec())[1].metrics
    base = {"train_loss", "validation_loss", "validation_accuracy", "train_seconds"}
    assert set(uniform) == base
    assert set(influence) >= base | {
        "kept_share",
        "reliability",
        "residual",
        "effective_sample_size",
        "influence_seconds",
        "wrong_row_auroc",
    }
    json.dumps(influence, allow_nan=False)


def test_the_student_comes_back_as_it_was() -> None:
    given, chosen = data(40, image=True), spec(Cnn(channels=(4,), hidden_size=8))
    state = run("uniform", given, chosen)[-1].state
    student = student_of(state, chosen, given)
    assert not student.training
    assert all(torch.equal(state.tensors[f"student/{name}"], value) for name, value in student.state_dict().items())


def test_the_oracle_needs_the_truth() -> None:
    given = data(40)
    blind = dataclasses.replace(given, unlabeled=dataclasses.replace(given.unlabeled, truth=None))
    targets = wrong_targets(given, 0.4)
    with pytest.raises(InvalidInputError, match="truth"):
        run("oracle", blind, spec(), targets=targets)
    assert "wrong_row_auroc" not in run("influence", blind, spec(), targets=targets)[1].metrics
    with pytest.raises(InvalidInputError, match="no arm"):
        run("best", given, spec())


def test_a_part_without_rows_is_named() -> None:
    given = dataclasses.replace(data(40), validation=part(0, 2))
    with pytest.raises(InvalidDataError, match="validation"):
        run("uniform", given, spec())
