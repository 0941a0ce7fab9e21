"""Teachers of 300 classes, kept by their largest as they speak, against what they say in whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import kdaif.scratch
import kdaif.top_classes
from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.errors import InvalidInputError, NonFiniteError
from kdaif.records import ColumnTeacher, DistillationSpec, Mlp, PlantedNoise, PreflightReport, Teacher, TrainedTeacher
from kdaif.records.teachers import EnsembleTeacher, OnnxTeacher
from kdaif.scratch import Scratch
from kdaif.teachers import SoftTargets, soft_targets
from kdaif.teachers.outputs import log_softmax
from kdaif.top_classes import KEPT_CLASSES, TopClasses

_C = 300
_NAMES = tuple(f"c{code:03}" for code in range(_C))
_CPU = torch.device("cpu")
Source = TrainedTeacher | OnnxTeacher | ColumnTeacher | EnsembleTeacher


def _data() -> DistillationData:
    generator = np.random.default_rng(0)

    def rows(n: int, first: int) -> Rows:
        features = generator.normal(size=(n, 6)).astype(np.float32)
        return Rows(np.arange(first, first + n), features, generator.permutation(np.arange(n) % _C))

    parts = {"labeled": rows(600, 0), "validation": rows(90, 1000), "gate": rows(30, 2000), "test": rows(30, 3000)}
    pool = rows(80, 4000)
    said = (3 * generator.normal(size=(80, _C))).astype(np.float32)
    unlabeled = Rows(pool.ids, pool.features, pool.labels[:0], teacher_logits=said, member_logits={0: said})
    signature = InputSignature("numeric", (6,), tuple("uvwxyz"))
    return DistillationData(
        _NAMES, signature, unlabeled=unlabeled, report=PreflightReport(), test_is_given=True, **parts
    )


def _onnx(path: Path, *, softmax: bool = False, scale: float = 1.0) -> Path:
    weights = scale * np.random.default_rng(1).normal(size=(6, _C)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["scores" if not softmax else "logits"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 6])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", _C])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def _ask(
    source: Source,
    model: Path,
    scratch: Scratch | None = None,
    **teacher: object,
) -> SoftTargets:
    spec = DistillationSpec(
        labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher.model_validate({"source": source, **teacher})
    )
    models = dict.fromkeys(("teacher", "teacher_0", "teacher_1"), model)
    return soft_targets(spec, _data(), _CPU, models=models, scratch=scratch)


def _whole(logits: object) -> NDArray[np.float32]:
    assert isinstance(logits, np.ndarray)
    return logits


_SHUFFLED = tuple(np.random.default_rng(5).permutation(_NAMES).tolist())
_COLUMN = ColumnTeacher(outputs="logits", class_names=_NAMES)
_MLP = Mlp(hidden_sizes=(8,))
_SOURCES: dict[str, Source] = {
    "column": _COLUMN,
    "one network": TrainedTeacher(architecture=_MLP, epochs=2),
    "two networks": TrainedTeacher(architecture=_MLP, epochs=2, networks=2),
    "folds": TrainedTeacher(architecture=_MLP, epochs=2, folds=2),
    "onnx": OnnxTeacher(model="c" * 32, outputs="logits", class_names=_SHUFFLED),
    "onnx probabilities": OnnxTeacher(model="c" * 32, outputs="probabilities", class_names=_SHUFFLED),
    "ensemble": EnsembleTeacher(
        members=(_COLUMN, OnnxTeacher(model="c" * 32, outputs="logits", class_names=_SHUFFLED))
    ),
}


@pytest.mark.parametrize("name", list(_SOURCES))
@pytest.mark.parametrize("noisy", [False, True])
def test_the_largest_are_those_of_whole_rows_and_the_others_have_their_mass(
    name: str, noisy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _onnx(tmp_path / "model.onnx", softmax="probabilities" in name)
    noise = {"planted_noise": PlantedNoise(kind="symmetric", share=0.4)} if noisy else {}
    kept = _ask(_SOURCES[name], model, Scratch(tmp_path, most_in_memory_bytes=0), **noise)
    monkeypatch.setattr(kdaif.top_classes, "MOST_WHOLE_CLASSES", _C)
    whole = _ask(_SOURCES[name], model, **noise)
    assert isinstance(kept.logits, TopClasses)
    exact = log_softmax(_whole(whole.logits))
    found = log_softmax(kept.logits[:])
    np.testing.assert_array_equal(found.argmax(1), exact.argmax(1))
    assert whole.planted is kept.planted is None or np.array_equal(whole.planted, kept.planted)  # type: ignore[arg-type]
    # An ensemble knows of a class that one member alone keeps only what the other spreads over it.
    of_several = name == "ensemble"
    sure = np.argsort(exact, axis=1)[:, -(1 if of_several else KEPT_CLASSES - 1) :]
    ours, theirs = (np.take_along_axis(each, sure, 1) for each in (found, exact))
    np.testing.assert_allclose(np.exp(ours), np.exp(theirs), rtol=2e-2 if of_several else 1e-4, atol=1e-6)
    for part in ("test_logits", "validation_logits", "labeled_logits"):
        said = getattr(whole, part)
        assert (said is None) == (getattr(kept, part) is None)
        if said is not None:
            np.testing.assert_array_equal(getattr(kept, part).argmax(1), said.argmax(1))


def test_no_array_of_all_classes_is_made_of_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    empty = Scratch.empty

    def counted(self: Scratch, shape: tuple[int, ...], dtype: object) -> NDArray[np.generic]:
        made.append(shape)
        return empty(self, shape, dtype)  # type: ignore[arg-type]

    monkeypatch.setattr(Scratch, "empty", counted)
    monkeypatch.setattr(kdaif.scratch, "SLAB_BYTES", 500_000)  # less than all rows in whole
    for name in ("onnx", "one network", "folds"):
        _ask(_SOURCES[name], _onnx(tmp_path / "model.onnx"), Scratch(tmp_path))
    assert made
    # Parts other than U are told whole.
    assert not [shape for shape in made if shape[-1] == _C and shape[0] in (80, 80 + 90 + 30)]


@pytest.mark.parametrize(("scale", "outputs"), [(1.0, "probabilities"), (float("nan"), "logits")])
def test_a_model_that_says_what_was_not_declared_is_refused(scale: float, outputs: str, tmp_path: Path) -> None:
    source = OnnxTeacher.model_validate({"model": "c" * 32, "outputs": outputs, "class_names": _NAMES})
    with pytest.raises(InvalidInputError, match=r"declare 'logits'|NaN or infinity"):
        _ask(source, _onnx(tmp_path / "model.onnx", scale=scale))


def test_probabilities_declared_as_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="softmax would be applied twice"):
        _ask(_SOURCES["onnx"], _onnx(tmp_path / "model.onnx", softmax=True))


def test_a_target_that_is_not_finite_is_told(tmp_path: Path) -> None:
    data = _data()
    logits = TopClasses.empty(80, _C, 2.0, Scratch())
    said = np.array(data.unlabeled.teacher_logits)
    said[3, 7] = -np.inf  # among those that are not kept
    logits[:] = said
    data.unlabeled.__dict__["teacher_logits"] = logits
    spec = DistillationSpec(labeled="a" * 32, unlabeled="b" * 32, teacher=Teacher(source=_COLUMN))
    with pytest.raises(NonFiniteError, match="4003"):
        soft_targets(spec, data, _CPU)
