"""The estimate grows with what makes a job long, and sizes are those of the declared layers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from kdaif.datasets import InputSignature, check
from kdaif.datasets.network_size import network_size
from kdaif.records import Architecture
from tests.kdaif.datasets.conftest import MakeJob, pair

NUMBERS = InputSignature("numeric", (10,), ("features",))
PICTURES = InputSignature("image", (8, 8, 3), ("image",))
TEXTS = InputSignature("text", (16,), ("text",))


def parameters(architecture: dict[str, Any], signature: InputSignature) -> int:
    made: Any = TypeAdapter(Architecture).validate_python(architecture)
    return network_size(made, signature, 4, 100).parameters


def seconds(job: MakeJob, **spec: Any) -> float:
    made = job(pair(), **spec)
    found = check(made.spec, made.files).estimate
    assert found is not None
    return found.seconds


@pytest.mark.parametrize(
    ("architecture", "signature", "wanted"),
    [
        ({"kind": "mlp", "hidden_sizes": (20, 30)}, NUMBERS, 10 * 20 + 20 * 30 + 30 * 4),
        ({"kind": "cnn", "channels": (6,), "hidden_size": 5}, PICTURES, 9 * 3 * 6 + 4 * 4 * 6 * 5 + 5 * 4),
        ({"kind": "resnet", "channels": (6,)}, PICTURES, 9 * (3 * 6 + 6 * 6) + 6 * 4),
        ({"kind": "mobilenet", "channels": (6,), "expansion": 2}, PICTURES, 6 * (3 + 9 + 6) + 6 * 4),
        ({"kind": "bag", "embedding_size": 7, "pair_buckets": 11}, TEXTS, (100 + 11) * 7 + 7 * 4),
        ({"kind": "text_encoder", "width": 8, "heads": 2, "depth": 3}, TEXTS, 100 * 8 + 3 * 12 * 64 + 8 * 4),
        (
            {
                "kind": "layers",
                "layers": [{"kind": "conv", "channels": 5}, {"kind": "pool"}, {"kind": "linear", "width": 9}],
            },
            PICTURES,
            9 * 3 * 5 + 4 * 4 * 5 * 9 + 9 * 4,
        ),
        ({"kind": "auto"}, NUMBERS, 10 * 64 + 64 * 4),
        ({"kind": "auto", "max_kb": 40.0}, NUMBERS, 10_000),
        ({"kind": "auto", "max_kb": 1.0}, NUMBERS, 10 * 64 + 64 * 4),
    ],
)
def test_parameters_are_those_of_the_weights(
    architecture: dict[str, Any], signature: InputSignature, wanted: int
) -> None:
    assert parameters(architecture, signature) == wanted


def test_rounds_epochs_arms_seeds_and_the_student_s_size_cost_time(job: MakeJob) -> None:
    small = {"rounds": 20, "epochs_per_round": 20, "seeds": 2}
    base = seconds(job, training=small)
    for longer in (
        {"training": small | {"rounds": 40}},
        {"training": small | {"epochs_per_round": 40}},
        {"training": small | {"seeds": 4}},
        {"training": small | {"batch_size": 8}},
        {"training": small, "student": {"kind": "mlp", "hidden_sizes": (2000, 2000)}},
        {"training": small, "teacher": {"source": {"kind": "train", "epochs": 10_000}}},
    ):
        assert seconds(job, **longer) > 1.2 * base, longer
    for shorter in (
        {"training": small, "control_arms": ("uniform",)},
        {"training": small, "weighting": {"canary_bar": 0.0}},
        {"training": small, "weighting": {"method": "uniform"}},
    ):
        assert seconds(job, **shorter) < base, shorter


def test_refused_data_has_no_estimate(job: MakeJob) -> None:
    made = job(pair(x=[float("nan")] * 90))
    assert check(made.spec, made.files).estimate is None
