from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kdaif_worker import targets as module
from kdaif_worker.messages import Assignment
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load, save

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.records import ColumnTeacher, DistillationSpec, Mlp, PlantedNoise, PreflightReport, Teacher, TrainedTeacher
from kdaif.records.teachers import OnnxTeacher
from kdaif.scratch import Scratch
from kdaif.store import BlobStore
from kdaif.top_classes import TopClasses

CLASSES = ("a", "b", "c")
COLUMN = ColumnTeacher(outputs="logits", class_names=CLASSES)
TRAINED = TrainedTeacher(architecture=Mlp(hidden_sizes=(8,)), epochs=3)


def data() -> DistillationData:
    rng = np.random.default_rng(0)

    def rows(n: int, first: int, **more: np.ndarray) -> Rows:
        ids = np.arange(first, first + n)
        return Rows(ids, rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n), **more)

    logits = rng.normal(size=(20, 3)).astype(np.float32)
    parts = {"labeled": rows(30, 0), "validation": rows(9, 100), "gate": rows(9, 200), "test": rows(9, 300)}
    signature = InputSignature("numeric", (4,), ("w", "x", "y", "z"))
    return DistillationData(
        CLASSES,
        signature,
        **parts,
        unlabeled=rows(20, 400, teacher_logits=logits),
        report=PreflightReport(),
        test_is_given=True,
    )


def written(file: Path, factor: float) -> Path:
    """A model whose scores are the first three numbers of a row, times the factor."""
    weights = numpy_helper.from_array(factor * np.eye(4, 3, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["scores"])],
        "g",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    file.write_bytes(made.SerializeToString())
    return file


@pytest.mark.parametrize("source", [COLUMN, TRAINED])
def test_a_later_attempt_gets_what_the_teacher_said_first(
    source: ColumnTeacher | TrainedTeacher, tmp_path: Path
) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    noise = PlantedNoise(kind="class_swap", share=0.5)

    def attempt(number: int, seed: int) -> tuple[module.SoftTargets, module.TeacherCost | None]:
        # Another seed would give another teacher and other noise: only what was kept can be equal.
        spec = DistillationSpec(
            labeled="a" * 32,
            unlabeled="b" * 32,
            teacher=Teacher(source=source, planted_noise=noise),
            training={"seed": seed},
        )
        assignment = Assignment("default", "j1", number, "", spec, "", tmp_path, None)
        return module.soft_targets(assignment, data(), torch.device("cpu"), blobs)

    (first, first_cost), (again, again_cost) = attempt(1, seed=0), attempt(3, seed=1)
    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(again.planted, first.planted)
    assert again_cost == first_cost
    if source is TRAINED:
        np.testing.assert_array_equal(again.test_logits, first.test_logits)
        assert first_cost is not None
        assert first_cost.size_kb > 0
        assert first_cost.ms_per_row > 0
    else:
        assert (again.test_logits, first_cost) == (None, None)


def test_what_was_said_of_labelled_rows_is_kept_too(tmp_path: Path) -> None:
    blobs = BlobStore.open(f"file://{tmp_path}")
    folded = TRAINED.model_copy(update={"folds": 2})
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher(source=folded))

    def attempt(number: int) -> module.SoftTargets:
        assignment = Assignment("default", "j1", number, "", spec, "", tmp_path, None)
        return module.soft_targets(assignment, data(), torch.device("cpu"), blobs)[0]

    first, again = attempt(1), attempt(2)
    assert first.labeled_logits is not None
    np.testing.assert_array_equal(again.labeled_logits, first.labeled_logits)


def test_another_job_does_not_run_the_model_again(tmp_path: Path) -> None:
    model = written(tmp_path / "model.onnx", 1)
    blobs = BlobStore.open(f"file://{tmp_path}/store")

    def job(name: str, tenant: str = "default") -> np.ndarray:
        source = OnnxTeacher(model="c" * 32, outputs="logits", class_names=CLASSES)
        spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher(source=source))
        assignment = Assignment(tenant, name, 1, "", spec, "", tmp_path, None)
        return module.soft_targets(assignment, data(), torch.device("cpu"), blobs, {"teacher": model})[0].logits

    first = job("j1")
    np.testing.assert_allclose(first, data().unlabeled.features[:, :3], rtol=1e-5)
    (kept,) = blobs.list("tenants/default/model-outputs")
    # What is read and not run shows in what the next job hears.
    blobs.replace_bytes(kept, save({"outputs": load(blobs.get_bytes(kept))["outputs"] + 1}))
    np.testing.assert_allclose(job("j2"), first + 1, rtol=1e-5)
    assert blobs.list("tenants/default/model-outputs") == [kept]
    np.testing.assert_array_equal(job("j3", tenant="other"), first)  # tenants share nothing
    written(model, 2)
    np.testing.assert_allclose(job("j4"), 2 * first, rtol=1e-5)


def test_d4_a_model_whose_columns_are_other_classes_is_doubted(tmp_path: Path) -> None:
    """Swapped class names raise no error; the labels of V tell, and a later attempt's report tells it again."""
    model = written(tmp_path / "model.onnx", 1)
    blobs = BlobStore.open(f"file://{tmp_path}/store")
    rows = data()
    labels = rows.validation.labels
    # A row whose largest number is at its class.
    features = np.random.default_rng(3).normal(size=(len(labels), 4)).astype(np.float32)
    features[np.arange(len(labels)), labels] += 9
    rows = replace(rows, validation=replace(rows.validation, features=features))

    def said(names: tuple[str, ...], job: str, attempt: int = 1) -> module.SoftTargets:
        source = OnnxTeacher(model="c" * 32, outputs="logits", class_names=names)
        spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher(source=source))
        assignment = Assignment("default", job, attempt, "", spec, "", tmp_path, None)
        return module.soft_targets(assignment, rows, torch.device("cpu"), blobs, {"teacher": model})[0]

    assert said(CLASSES, "j1").findings == ()
    (doubt,) = said((CLASSES[1], CLASSES[2], CLASSES[0]), "j2").findings
    assert (doubt.code, doubt.field, doubt.row_count) == ("TEACHER_AT_CHANCE", "spec.teacher.onnx", len(labels))
    assert said((CLASSES[1], CLASSES[2], CLASSES[0]), "j2", attempt=2).findings == (doubt,)


def test_targets_of_many_classes_are_kept_by_their_largest(tmp_path: Path) -> None:
    blobs, few = BlobStore.open(f"file://{tmp_path}"), data()
    names = tuple(f"c{code}" for code in range(1000))
    said = TopClasses.empty(20, 1000, 2.0, Scratch())
    said[:] = np.random.default_rng(0).normal(size=(20, 1000)).astype(np.float32)
    given = replace(few, class_names=names, unlabeled=replace(few.unlabeled, teacher_logits=said))
    source = ColumnTeacher(outputs="logits", class_names=names)
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher(source=source))
    assignment = Assignment("default", "j1", 1, "", spec, "", tmp_path, None)
    first, again = (module.soft_targets(assignment, given, torch.device("cpu"), blobs)[0].logits for _ in range(2))
    assert isinstance(first, TopClasses)
    assert isinstance(again, TopClasses)
    np.testing.assert_array_equal(again[:], first[:])
    np.testing.assert_array_equal(again.at_temperature()[:], first.at_temperature()[:])
    (path,) = blobs.list("tenants/default/jobs")
    assert blobs.size(path) < 20 * 1000 * 4 / 5
