from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError, TrainingError
from kdaif.export import IR_VERSION, OPSET, export_onnx
from kdaif.export.onnx_file import _halve_last, refuse_training_operators
from kdaif.records import Cnn, Mlp
from kdaif.students import Student, build_student

IMAGE = InputSignature("image", (8, 8, 3), ("image",))
NUMERIC = InputSignature("numeric", (5,), ("a", "b", "c", "d", "e"))
CLASSES = ("cat", "dög", "<owl>")


def images(rows: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8)


def numbers(rows: int) -> np.ndarray:
    return (100 + 10 * np.random.default_rng(7).normal(size=(rows, 5))).astype(np.float32)


def cnn_student() -> Student:
    return build_student(Cnn(channels=(4, 6), hidden_size=8, dropout=0.5), IMAGE, 3, images(50), seed=1)


def mlp_student() -> Student:
    return build_student(Mlp(hidden_sizes=(8,), dropout=0.5), NUMERIC, 3, numbers(50), seed=1)


def run(file: Path, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logits", "probabilities"], {"input": rows})
    return logits, probabilities


@pytest.fixture(scope="module")
def cnn_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cnn") / "student.onnx"
    export_onnx(cnn_student(), file, CLASSES)
    return file


@pytest.fixture(scope="module")
def mlp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mlp") / "student.onnx"
    export_onnx(mlp_student(), file, CLASSES)
    return file


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_e1_the_batch_is_named_and_dynamic(batch: int, cnn_file: Path, mlp_file: Path) -> None:
    for file, rows, student in ((cnn_file, images(batch), cnn_student()), (mlp_file, numbers(batch), mlp_student())):
        logits, probabilities = run(file, rows)
        with torch.no_grad():
            expected = student.eval()(torch.from_numpy(rows))

        graph = onnx.load(file).graph
        assert [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)] == [
            "batch"
        ] * 3
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(probabilities, torch.softmax(expected, 1).numpy(), atol=1e-6)


def test_e2_a_student_in_train_mode_exports_as_eval_and_stays_in_train_mode(tmp_path: Path) -> None:
    student = cnn_student().train()
    with torch.no_grad():
        student(torch.from_numpy(images(16)))  # moves the running statistics of BatchNorm away from 0 and 1
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}

    export_onnx(student, tmp_path / "student.onnx", CLASSES)

    assert all(module.training for module in student.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    logits, _ = run(tmp_path / "student.onnx", images(5))
    with torch.no_grad():
        expected = student.eval()(torch.from_numpy(images(5)))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    assert not {node.op_type for node in onnx.load(tmp_path / "student.onnx").graph.node} & {
        "Dropout",
        "BatchNormalization",
    }


class AlwaysDropout(nn.Module):
    """A module that ignores eval mode."""

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.dropout(values, 0.5, training=True)


def test_e2_a_module_that_ignores_eval_mode_is_refused(tmp_path: Path) -> None:
    student = mlp_student()
    student.body.append(AlwaysDropout())

    with pytest.raises(TrainingError, match="training operators: Dropout"):
        export_onnx(student, tmp_path / "student.onnx", CLASSES)

    assert not (tmp_path / "student.onnx").exists()


def one_node(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(nodes, "graph", [], []))


def test_e2_batch_norm_in_training_mode_is_refused() -> None:
    inputs, name = ["x", "scale", "bias", "mean", "var"], "norm"
    refuse_training_operators(one_node(helper.make_node("BatchNormalization", inputs, ["y"], name)))

    with pytest.raises(TrainingError, match="BatchNormalization 'norm'"):
        refuse_training_operators(
            one_node(helper.make_node("BatchNormalization", inputs, ["y", "m", "v"], name, training_mode=1))
        )


def test_e2_training_operators_inside_a_branch_are_refused() -> None:
    branch = helper.make_graph([helper.make_node("Dropout", ["x", "r", "t"], ["y"], "inner")], "then", [], [])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)

    with pytest.raises(TrainingError, match="Dropout 'inner'"):
        refuse_training_operators(one_node(node))


def test_e3_opset_and_ir_are_old_enough(cnn_file: Path, mlp_file: Path) -> None:
    for file in (cnn_file, mlp_file):
        proto = onnx.load(file)

        assert (proto.ir_version, [(entry.domain, entry.version) for entry in proto.opset_import]) == (8, [("", 18)])
        assert (IR_VERSION, OPSET) == (8, 18)
        onnx.checker.check_model(proto, full_check=True)


def test_e4_one_file_that_runs_alone(cnn_file: Path, tmp_path: Path) -> None:
    assert [path.name for path in cnn_file.parent.iterdir()] == ["student.onnx"]
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(cnn_file.read_bytes())

    run(alone, images(2))

    assert all(tensor.data_location == TensorProto.DEFAULT for tensor in onnx.load(alone).graph.initializer)


EXPORT_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_onnx_file import CLASSES, cnn_student, export_onnx
export_onnx(cnn_student(), Path("elsewhere.onnx").absolute(), CLASSES)
"""


def test_e10_same_bytes_in_another_directory_and_another_process(cnn_file: Path, tmp_path: Path) -> None:
    directory = tmp_path / "another" / "place"
    directory.mkdir(parents=True)
    export_onnx(cnn_student(), directory / "renamed.onnx", CLASSES)
    subprocess.run(
        [sys.executable, "-c", EXPORT_IN_ANOTHER_PROCESS, str(Path(__file__).parent)], cwd=tmp_path, check=True
    )

    hashes = {
        hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (cnn_file, directory / "renamed.onnx", tmp_path / "elsewhere.onnx")
    }
    assert len(hashes) == 1


def test_e10_nothing_of_the_build_is_in_the_file(cnn_file: Path) -> None:
    content = cnn_file.read_bytes()

    for trace in (b".py", b"site-packages", b"pkg.torch", b"stack_trace", b"Linear(", str(Path.cwd()).encode()):
        assert trace not in content
    proto = onnx.load(cnn_file)
    assert not proto.doc_string
    assert not any(part.doc_string or part.metadata_props for part in (*proto.graph.node, *proto.graph.initializer))


@pytest.mark.parametrize("temperature", [0.25, 1.7])
def test_a_temperature_is_in_the_probabilities_and_not_in_the_logits(temperature: float, tmp_path: Path) -> None:
    student = mlp_student()
    rows = np.random.default_rng(3).normal(size=(6, *student.signature.shape)).astype(np.float32)
    export_onnx(student, tmp_path / "student.onnx", CLASSES, temperature=temperature)

    logits, probabilities = run(tmp_path / "student.onnx", rows)

    with torch.inference_mode():
        expected = student.eval()(torch.from_numpy(rows))
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(probabilities, torch.softmax(expected / temperature, 1).numpy(), atol=1e-5)


def test_a_temperature_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="temperature"):
        export_onnx(mlp_student(), tmp_path / "student.onnx", CLASSES, temperature=0.0)


def test_class_names_and_input_travel_in_the_file(cnn_file: Path, mlp_file: Path) -> None:
    def metadata(file: Path) -> dict[str, object]:
        return {entry.key: json.loads(entry.value) for entry in onnx.load(file).metadata_props}

    assert metadata(cnn_file)["kdaif.class_names"] == list(CLASSES)
    assert metadata(cnn_file)["kdaif.input"] == {
        "name": "input",
        "kind": "image",
        "dtype": "uint8",
        "shape": ["batch", 8, 8, 3],
        "columns": ["image"],
        "layout": "NHWC",
        "pictures": {"formats": ["PNG", "JPEG"], "mode": "RGB", "resize": None},
    }
    assert metadata(mlp_file)["kdaif.input"] == {
        "name": "input",
        "kind": "numeric",
        "dtype": "float32",
        "shape": ["batch", 5],
        "columns": list("abcde"),
        "layout": None,
    }


def test_the_wrong_number_of_class_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="3 names, one per logit, not 2"):
        export_onnx(mlp_student(), tmp_path / "student.onnx", ("a", "b"))


def test_export_warns_and_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(mlp_student(), tmp_path / "student.onnx", CLASSES)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _gelu_like(extra: list[onnx.NodeProto], outputs: list[str]) -> onnx.ModelProto:
    """``x * (0.5 * (1 + erf(x)))``, and what is asked for beside it."""
    nodes = [
        helper.make_node("Erf", ["x"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["y"]),
        helper.make_node("Mul", ["half", "y"], ["h"]),
        helper.make_node("Mul", ["x", "h"], ["z"]),
        *extra,
    ]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("one", 1.0), ("half", 0.5))
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", *outputs)]
    graph = helper.make_graph(nodes, "g", made[:1], made[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@pytest.mark.parametrize(
    ("extra", "outputs", "changed"),
    [
        ([], ["z"], True),
        ([helper.make_node("Neg", ["h"], ["n"])], ["z", "n"], False),  # the half is needed as it is
        (
            [helper.make_node("Add", ["x", "one"], ["a"]), helper.make_node("Mul", ["half", "a"], ["b"])],
            ["z", "b"],
            True,
        ),
        ([helper.make_node("Mul", ["x", "x"], ["s"]), helper.make_node("Mul", ["s", "x"], ["t"])], ["z", "t"], True),
    ],
)
def test_the_order_of_a_gelu_changes_and_no_number_does(
    extra: list[onnx.NodeProto], outputs: list[str], changed: bool
) -> None:
    model = _gelu_like(extra, outputs)
    before = model.SerializeToString()
    _halve_last(model)
    assert (model.SerializeToString() != before) is changed
    rows = {"x": np.array([-1.5, 0.25, 3.0], dtype=np.float32)}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [onnxruntime.InferenceSession(data, options) for data in (before, model.SerializeToString())]
    for was, now in zip(*(session.run(None, rows) for session in sessions), strict=True):
        np.testing.assert_array_equal(now, was)
