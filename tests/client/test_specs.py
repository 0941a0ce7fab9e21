"""Specs: the same on both sides of the wire, and refused by field where they cannot be sent."""

from __future__ import annotations

import pytest
from kdaif_client import (
    Activation,
    BatchNorm,
    Checks,
    Client,
    Cnn,
    ColumnTeacher,
    Conv,
    Dropout,
    EnsembleTeacher,
    Export,
    Inputs,
    Layers,
    Linear,
    Mlp,
    Monitoring,
    OnnxTeacher,
    OverridesFrom,
    PlantedNoise,
    Pool,
    Scheduling,
    Spec,
    Splits,
    TrainedTeacher,
    Training,
    Weighting,
)
from kdaif_client._convert_spec import spec_from_json, spec_to_json
from kdaif_client.errors import InvalidArgument

from tests.client.small_server import SmallServer
from tests.client.small_state import PARENT

L, U = "1" * 32, "2" * 32


FULL = Spec(
    labeled=f"{PARENT}/datasets/{L}",
    unlabeled=f"{PARENT}/datasets/{U}",
    validation=f"{PARENT}/datasets/{L}",
    class_names=("cat", "dog"),
    teacher=ColumnTeacher("probabilities", ("dog", "cat"), f"{PARENT}/datasets/{U}", PlantedNoise("symmetric", 0.25)),
    student=Cnn(channels=(8,), hidden_size=16, dropout=0.5),
    training=Training(
        rounds=2,
        learning_rate=0.5,
        temperature=4.0,
        seed=0,
        loss="dkd",
        dkd_alpha=0.5,
        dkd_beta=0.0,
        standardise_logits=False,
        schedule="cosine",
        ema_decay=0.9,
        class_balanced=True,
        patience_rounds=1,
    ),
    weighting=Weighting(method="uniform", target="keep", floor=0.0),
    control_arms=("uniform",),
    splits=Splits(test_share=0.25),
    device="cpu",
    max_runtime_s=60,
    max_attempts=1,
    scheduling=Scheduling(priority=-5, gpus=0, worker_labels=("eu",), deadline_s=60),
    monitoring=Monitoring("pause", 0.25, 10, 0.5, 0.0, 0.1),
    overrides=OverridesFrom(f"{PARENT}/distillationJobs/j1", 3),
    export=Export(("int8",), "1.16", 1.0, 0.98, 0.0, 0.5, 200.0, 0.5),
)


@pytest.mark.parametrize(
    "spec",
    [
        FULL,
        Spec(f"{PARENT}/datasets/{L}", f"{PARENT}/datasets/{U}"),
        Spec(f"{PARENT}/datasets/{L}", f"{PARENT}/datasets/{U}", teacher=TrainedTeacher(), student=Mlp()),
        Spec(
            f"{PARENT}/datasets/{L}",
            f"{PARENT}/datasets/{U}",
            teacher=TrainedTeacher(Mlp((256,)), 5, PlantedNoise("class_swap", 0.5)),
            student=Mlp((64, 32), 0.0),
        ),
        Spec(
            f"{PARENT}/datasets/{L}",
            f"{PARENT}/datasets/{U}",
            teacher=EnsembleTeacher(
                (
                    OnnxTeacher(f"{PARENT}/datasets/{U}", "logits", ("a", "b"), layout="nchw", mean=(0.5,)),
                    ColumnTeacher("label", label_smoothing=0.0),
                    TrainedTeacher(folds=2),
                ),
                combine="by_validation",
                planted_noise=PlantedNoise("symmetric", 0.5),
            ),
            student=Layers((Conv(4, stride=2), BatchNorm(), Activation("gelu"), Pool(), Linear(8), Dropout(0.5))),
            inputs=Inputs(categorical_columns=("a",), lower_case=False),
            checks=Checks(0.0),
            initial_weights=f"{PARENT}/datasets/{L}",
        ),
    ],
)
def test_a_spec_is_the_same_after_the_wire_and_after_json(client: Client, spec: Spec) -> None:
    assert client.submit_spec(spec).info.spec == spec
    assert spec_from_json(spec_to_json(spec)) == spec


def test_data_sets_are_given_as_such_by_name_or_by_id(server: SmallServer, client: Client) -> None:
    dataset = client.upload_dataset({"x": [1.0, 2.0]}, name="pool")
    spec = client.submit(labeled=L, unlabeled=dataset, test=f"{PARENT}/datasets/{U}").info.spec
    assert (spec.labeled, spec.unlabeled, spec.test) == (
        f"{PARENT}/datasets/{L}",
        dataset.name,
        f"{PARENT}/datasets/{U}",
    )


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"student": Mlp(hidden_sizes=())}, "spec.student.mlp.hidden_sizes"),
        ({"student": "mlp"}, "spec.student"),
        ({"teacher": Mlp()}, "spec.teacher"),
        ({"control_arms": ()}, "spec.control_arms"),
        ({"control_arms": "uniform"}, "spec.control_arms"),
        ({"training": Training(rounds="many")}, "spec.training.rounds"),
        ({"training": Training(rounds=2**40)}, "spec.training.rounds"),
        ({"weighting": Weighting(method="magic")}, "spec.weighting.method"),
        ({"teacher": TrainedTeacher(planted_noise=PlantedNoise("some", 0.5))}, "spec.teacher.planted_noise.kind"),
        ({"validation": 3}, "spec.validation"),
        ({"inputs": Inputs(categorical_columns=())}, "spec.inputs.categorical_columns"),
        ({"export": Export(variants=())}, "spec.export.variants"),
        ({"student": Layers((Linear(4), Mlp()))}, "spec.student.layers.layers[1]"),
        (
            {
                "teacher": EnsembleTeacher(
                    (TrainedTeacher(), TrainedTeacher(planted_noise=PlantedNoise("symmetric", 0.5)))
                )
            },
            "spec.teacher.ensemble.members[1].train.planted_noise",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_by_field(client: Client, arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.submit(L, U, **arguments)  # type: ignore[call-overload]
    assert [violation.field for violation in caught.value.violations] == [field]
    assert field in str(caught.value)


def test_every_wrong_field_is_told(client: Client) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.submit(L, U, training=Training(temperature=0.0))
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("spec.training.temperature", "is 0; must be above 0"),
        ("spec.labeled", "has no column `label`"),
    ]
    assert str(caught.value) == (
        "The spec is wrong in 2 places.\n"
        "  spec.training.temperature: is 0; must be above 0\n"
        "  spec.labeled: has no column `label`"
    )
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
