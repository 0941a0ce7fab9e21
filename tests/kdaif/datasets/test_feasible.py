"""Jobs that could never run are refused when they are submitted, and `kdaif check` says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kdaif.datasets import check
from kdaif.datasets.parameter_shapes import known_shapes
from kdaif.records import (
    Auto,
    ModelSignature,
    ModelTensor,
    OnnxSignature,
    SafetensorsSignature,
    Severity,
    TransformerSignature,
    ladder,
)
from kdaif.students import build_student
from tests.kdaif.datasets.conftest import Job, MakeJob, pair
from tests.kdaif.datasets.test_texts import sentences, sets
from tests.kdaif.inputs import ARCHITECTURES, SIGNATURES, rows_of

MODEL = f"{9:032x}"
CLASSES = ["c0", "c1", "c2"]


def refusals(made: Job, models: Mapping[str, ModelSignature] | None = None) -> dict[str, str]:
    report = check(made.spec, made.files, models).report
    return {found.field: found.message for found in report.findings if found.severity is Severity.ERROR}


def onnx(width: int = 2, classes: int = 3, batch: int | None = None) -> OnnxSignature:
    inputs = (ModelTensor("x", "float32", (batch, width)),)
    return OnnxSignature(inputs, (ModelTensor("y", "float32", (batch, classes)),), 18)


def onnx_teacher(**more: Any) -> dict[str, Any]:
    return {"source": {"kind": "onnx", "model": MODEL, "outputs": "logits", "class_names": CLASSES, **more}}


@pytest.mark.parametrize(
    ("options", "model", "field"),
    [
        ({"mean": [0.5]}, onnx(), "mean"),
        ({"layout": "nchw"}, onnx(), "layout"),
        ({}, onnx(width=3), "model"),
        ({}, onnx(classes=4), "class_names"),
        ({"input": "z"}, onnx(), "input"),
        ({}, onnx(batch=1 << 20), "model"),
    ],
)
def test_an_onnx_teacher_that_does_not_fit_the_numbers(
    job: MakeJob, options: dict[str, Any], model: OnnxSignature, field: str
) -> None:
    assert refusals(job(pair(), teacher=onnx_teacher()), {"teacher": onnx()}) == {}
    found = refusals(job(pair(), teacher=onnx_teacher(**options)), {"teacher": model})
    assert list(found) == [f"spec.teacher.onnx.{field}"]


def test_an_onnx_teacher_of_text(job: MakeJob) -> None:
    made = job(
        sets(sentences(60), sentences(60, 60)),
        teacher={"source": {"kind": "onnx", "model": MODEL, "outputs": "logits", "class_names": ["c0", "c1"]}},
    )
    assert "'transformer'" in refusals(made, {"teacher": onnx(classes=2)})["spec.teacher.onnx"]


def test_a_transformer_wants_texts_of_a_length_that_it_reads(job: MakeJob) -> None:
    encoder = {"kind": "transformer", "model": MODEL, "folds": 1}
    assert "no text" in refusals(job(pair(), teacher={"source": encoder}))["spec.teacher.transformer"]
    texts = sets(sentences(60), sentences(60, 60))
    fits = TransformerSignature("bert", 100, 100, 128)
    assert refusals(job(texts, teacher={"source": encoder}), {"teacher": fits}) == {}
    for short in (TransformerSignature("bert", 100, 100, 127), TransformerSignature("roberta", 100, 100, 129)):
        found = refusals(job(texts, teacher={"source": encoder}), {"teacher": short})
        assert "127" in found["spec.teacher.transformer.max_tokens"]


@pytest.mark.parametrize("kind", ["train", "transformer"])
def test_folds_need_two_rows_each(job: MakeJob, kind: str) -> None:
    source = {"kind": kind, "folds": 32, **({} if kind == "train" else {"model": MODEL})}
    made = job(pair() if kind == "train" else sets(sentences(60), sentences(60, 60)), teacher={"source": source})
    assert "give two or more for each fold" in refusals(made)[f"spec.teacher.{kind}.folds"]


def test_members_of_an_ensemble_are_looked_at_too(job: MakeJob) -> None:
    members = [{"kind": "train"}, onnx_teacher()["source"]]
    made = job(pair(), teacher={"source": {"kind": "ensemble", "members": members}})
    assert refusals(made, {"teacher_1": onnx()}) == {}
    found = refusals(made, {"teacher_1": onnx(width=3)})
    assert list(found) == ["spec.teacher.ensemble.members[1].onnx.model"]


def test_a_budget_that_nothing_fits(job: MakeJob) -> None:
    for kb in (0.001, 0.9):
        found = refusals(job(pair(), student={"kind": "auto", "max_kb": kb}))
        assert "raise it" in found["spec.student.auto.max_kb"]
    assert refusals(job(pair(), student={"kind": "auto", "max_kb": 3.0})) == {}


def tensors(shapes: Mapping[str, tuple[int | None, ...]]) -> SafetensorsSignature:
    return SafetensorsSignature(tuple(ModelTensor(name, "float32", shape) for name, shape in shapes.items()))


def test_weights_of_another_network(job: MakeJob) -> None:
    made = job(pair(), student={"kind": "mlp", "hidden_sizes": [5, 4]}, initial_weights=MODEL)
    own = {
        "body.1.weight": (5, 2),
        "body.1.bias": (5,),
        "body.3.weight": (4, 5),
        "body.3.bias": (4,),
        "head.weight": (3, 4),
        "head.bias": (3,),
    }
    assert refusals(made, {"initial_weights": tensors(own)}) == {}
    for name, shape in [("body.1.weight", (5, 3)), ("head.weight", (2, 4)), ("head.bias", (2,)), ("mean", (3,))]:
        found = refusals(made, {"initial_weights": tensors({**own, name: shape})})
        assert repr(name) in found["spec.initial_weights"]
    lacking = {name: shape for name, shape in own.items() if name != "body.3.bias"}
    assert "lacks 'body.3.bias'" in refusals(made, {"initial_weights": tensors(lacking)})["spec.initial_weights"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_are_those_of_the_network_that_is_built(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    state = build_student(network, signature, 7, rows_of(signature, 20), seed=0).state_dict()
    for tensor, shape in known_shapes(network, signature, 7).items():
        assert all(size in (None, own) for size, own in zip(shape, state[tensor].shape, strict=True)), tensor


@pytest.mark.parametrize("kind", ["numeric", "table", "image", "text"])
def test_a_network_that_was_left_to_us(kind: str) -> None:
    signature = SIGNATURES[kind]
    state = build_student(Auto(), signature, 7, rows_of(signature, 20), seed=0).state_dict()
    assert known_shapes(Auto(), signature, 7)["head.weight"] == tuple(state["head.weight"].shape)
    assert known_shapes(Auto(max_ms=1.0), signature, 7)["head.weight"] == (7, None)
    assert ladder(signature.kind)
