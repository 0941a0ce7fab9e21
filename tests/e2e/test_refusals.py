"""What is wrong is refused at submit time, naming the field, the rows and the fix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from kdaif_client import Client, ColumnTeacher, Dataset, OnnxTeacher, Training
from kdaif_client.errors import InvalidArgument
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def upload(client: Client, name: str, rows: int, **columns: object) -> Dataset:
    features = RNG.normal(size=(rows, 4)).astype(np.float32)
    return client.upload_dataset({"features": features, **columns}, name=name)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.tile(["cat", "dog", "owl"], 40)


def refusal(client: Client, **arguments: object) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        client.submit(**arguments)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_d10_temperature_zero(client: Client, labels: np.ndarray) -> None:
    found = refusal(
        client,
        labeled=upload(client, "l", 120, label=labels),
        unlabeled=upload(client, "u", 50),
        training=Training(temperature=0.0),
    )
    assert list(found) == ["spec.training.temperature"]


def test_d2_probabilities_declared_as_logits(client: Client, labels: np.ndarray) -> None:
    probabilities = RNG.dirichlet(np.ones(3), 50).astype(np.float32)
    found = refusal(
        client,
        labeled=upload(client, "l", 120, label=labels),
        unlabeled=upload(client, "u", 50, teacher_logits=probabilities),
        teacher=ColumnTeacher(outputs="logits", class_names=("cat", "dog", "owl")),
    )
    assert "probabilities" in " ".join(found.values())


def test_d4_a_class_that_the_teacher_does_not_know(client: Client, labels: np.ndarray) -> None:
    found = refusal(
        client,
        labeled=upload(client, "l", 120, label=labels),
        unlabeled=upload(client, "u", 50, teacher_logits=RNG.normal(size=(50, 3)).astype(np.float32)),
        teacher=ColumnTeacher(outputs="logits", class_names=("cat", "dog", "emu")),
    )
    assert list(found) == ["spec.teacher.column.class_names"]
    assert "owl" in found["spec.teacher.column.class_names"]


def test_a_data_set_that_is_not_there(client: Client, labels: np.ndarray) -> None:
    found = refusal(
        client,
        labeled=upload(client, "l", 120, label=labels),
        unlabeled="tenants/default/datasets/" + "0" * 32,
    )
    assert list(found) == ["spec.unlabeled"]


def test_validate_only_queues_nothing_and_tells_the_findings(client: Client, labels: np.ndarray) -> None:
    features = RNG.normal(size=(50, 4)).astype(np.float32)
    features[7, 2] = np.nan
    before = len(list(client.list_jobs()))
    findings = client.submit(
        labeled=upload(client, "l", 120, label=labels),
        unlabeled=client.upload_dataset({"features": features}, name="pool"),
        validate_only=True,
    )
    assert len(list(client.list_jobs())) == before
    assert any(finding.ids == ("pool-000008",) for finding in findings)  # D15: the row is named, the others go on


def test_q7_a_repeated_request_is_answered_even_when_its_data_are_gone(client: Client, labels: np.ndarray) -> None:
    request = {
        "labeled": upload(client, "l", 120, label=labels),
        "unlabeled": upload(client, "u", 50),
        "training": Training(rounds=1, epochs_per_round=1, seeds=1),
        "request_id": "once",
    }
    job = client.submit(**request)
    job.wait(timeout_s=60)
    client.delete_dataset(request["unlabeled"])
    assert client.submit(**request).name == job.name
    assert list(refusal(client, **(request | {"request_id": "another"}))) == ["spec.unlabeled"]


def test_a_model_that_does_not_fit_the_rows(client: Client, labels: np.ndarray, tmp_path: Path) -> None:
    """The server looked into the file when it came, and holds the job against what it found."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.ones((5, 3), np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "wide.onnx")
    found = refusal(
        client,
        labeled=upload(client, "l", 120, label=labels),
        unlabeled=upload(client, "u", 50),
        teacher=OnnxTeacher(client.upload_model(tmp_path / "wide.onnx"), "logits", ("cat", "dog", "owl")),
    )
    assert list(found) == ["spec.teacher.onnx.model"]
