"""Model files of others: run in a process of their own, bound by name, and stopped where they misbehave."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from kdaif.datasets import DistillationData, InputSignature, Rows
from kdaif.errors import InvalidInputError, OutOfMemoryError
from kdaif.records import PreflightReport
from kdaif.records.teachers import OnnxTeacher
from kdaif.teachers.onnx_teacher import onnx_outputs
from kdaif.teachers.remembered import always_make
from tests.waiting import wait_for

CLASSES = ("a", "b", "c")
FIELD = "spec.teacher.onnx"
TABLE = InputSignature("numeric", (4,), ("w", "x", "y", "z"))
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def data_of(features: np.ndarray, signature: InputSignature, classes: tuple[str, ...] = CLASSES) -> DistillationData:
    """The rows as U, and a few of them again as every other part."""

    def rows(values: np.ndarray) -> Rows:
        return Rows(np.arange(len(values)), values, np.arange(len(values)) % len(classes))

    few = rows(features[:7])
    return DistillationData(classes, signature, few, few, few, rows(features), few, PreflightReport(), True)


def numbers(n: int = 300) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)


def write(path: Path, nodes: list[Any], initializers: list[Any], **more: Any) -> Path:
    shape, dtype = more.get("shape", ["n", 4]), more.get("dtype", TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info("rows", dtype, shape)]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], more.get("classes", 3)])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def linear(path: Path, **more: Any) -> Path:
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["scores"])]
    return write(path, nodes, [numpy_helper.from_array(WEIGHTS, "weights")], **more)


def teacher(**more: Any) -> OnnxTeacher:
    given = {"model": "0" * 32, "outputs": "logits", "class_names": CLASSES, "max_memory_mib": 512, "max_seconds": 60}
    return OnnxTeacher.model_validate({**given, **more})


def ask(model: Path, data: DistillationData, **more: Any) -> Any:
    return onnx_outputs(teacher(**more), data, model, FIELD, always_make)


def refusal(model: Path, data: DistillationData, **more: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as refused:
        ask(model, data, **more)
    violation = refused.value.violations[0]
    return violation.field, violation.description


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Whatever a test does. A server that all tests share may have been there before."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert not set(psutil.Process().children(recursive=True)) - before


@pytest.mark.parametrize("batch", ["n", 64])
def test_numbers_go_in_and_logits_come_out(tmp_path: Path, batch: Any) -> None:
    features = numbers()
    model = linear(tmp_path / "m.onnx", shape=[batch, 4])
    said = ask(model, data_of(features, TABLE))
    np.testing.assert_allclose(said.unlabeled, features @ WEIGHTS, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said.test, features[:7] @ WEIGHTS, rtol=1e-4, atol=1e-5)
    assert said.unlabeled.dtype == np.float32
    assert (said.external, said.labeled) == (None, None)


def test_an_axis_without_a_size_is_a_batch_of_any(tmp_path: Path) -> None:
    """Some exporters write -1; it was taken for a fixed batch, and no row was sent."""
    features = numbers()
    model = onnx.load(linear(tmp_path / "m.onnx"))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, tmp_path / "m.onnx")
    said = ask(tmp_path / "m.onnx", data_of(features, TABLE))
    np.testing.assert_allclose(said.unlabeled, features @ WEIGHTS, rtol=1e-4, atol=1e-5)


def test_the_other_name_of_the_standard_s_domain_runs(tmp_path: Path) -> None:
    features = numbers()
    model = onnx.load(linear(tmp_path / "m.onnx"))
    model.graph.node[0].domain = "ai.onnx"
    onnx.save(model, tmp_path / "m.onnx")
    said = ask(tmp_path / "m.onnx", data_of(features, TABLE))
    np.testing.assert_allclose(said.unlabeled, features @ WEIGHTS, rtol=1e-4, atol=1e-5)


def test_the_one_output_that_holds_a_float_for_each_class_is_found(tmp_path: Path) -> None:
    features = numbers()
    model = onnx.load(linear(tmp_path / "m.onnx"))
    model.graph.node.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
    model.graph.node.append(helper.make_node("Identity", ["rows"], ["hidden"]))
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    model.graph.output.insert(1, helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", 4]))
    onnx.save(model, tmp_path / "m.onnx")
    said = ask(tmp_path / "m.onnx", data_of(features, TABLE))
    np.testing.assert_allclose(said.unlabeled, features @ WEIGHTS, rtol=1e-4, atol=1e-5)
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["again"]))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["n", 3]))
    onnx.save(model, tmp_path / "m.onnx")
    field, why = refusal(tmp_path / "m.onnx", data_of(features, TABLE))
    assert (field, "'scores', 'again'" in why) == (f"{FIELD}.output", True)


def test_d4_columns_are_bound_to_classes_by_name(tmp_path: Path) -> None:
    features, model = numbers(), linear(tmp_path / "m.onnx")
    said = ask(model, data_of(features, TABLE), class_names=("c", "a", "b"))
    np.testing.assert_allclose(said.unlabeled, (features @ WEIGHTS)[:, [1, 2, 0]], rtol=1e-4, atol=1e-5)
    assert refusal(model, data_of(features, TABLE), class_names=("a", "b", "d"))[0] == f"{FIELD}.class_names"


def test_probabilities_become_logarithms_and_d2_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["z"]),
        helper.make_node("Softmax", ["z"], ["scores"], axis=1),
    ]
    model = write(tmp_path / "p.onnx", nodes, [numpy_helper.from_array(WEIGHTS, "weights")])
    data = data_of(numbers(), TABLE)
    said = ask(model, data, outputs="probabilities")
    np.testing.assert_allclose(np.exp(said.unlabeled).sum(axis=1), 1, rtol=1e-4)
    assert np.array_equal(said.unlabeled.argmax(axis=1), (numbers() @ WEIGHTS).argmax(axis=1))
    assert refusal(model, data)[0] == f"{FIELD}.outputs"
    field, why = refusal(linear(tmp_path / "l.onnx"), data, outputs="probabilities")
    assert (field, "declare 'logits'" in why) == (f"{FIELD}.outputs", True)


def test_nan_is_refused_naming_the_rows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["z"]),
        helper.make_node("Log", ["z"], ["scores"]),
    ]
    model = write(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(WEIGHTS, "weights")])
    field, why = refusal(model, data_of(numbers(), TABLE))
    assert field == f"{FIELD}.model"
    assert "NaN or infinity" in why
    assert "ids" in why


def test_a_model_of_other_rows_is_refused(tmp_path: Path) -> None:
    data = data_of(numbers(), TABLE)
    assert "[?, 5]" in refusal(linear(tmp_path / "wide.onnx", shape=["n", 5]), data)[1]
    assert "int64" in refusal(linear(tmp_path / "int.onnx", dtype=TensorProto.INT64), data)[1]
    assert refusal(linear(tmp_path / "two.onnx", classes=2), data)[0] == f"{FIELD}.class_names"
    assert refusal(linear(tmp_path / "m.onnx"), data, input="x")[0] == f"{FIELD}.input"
    assert refusal(linear(tmp_path / "m.onnx"), data, scale=2.0)[0] == f"{FIELD}.scale"
    text = data_of(np.zeros((9, 4), np.int32), InputSignature("text", (4,), ("text",)))
    assert "'transformer'" in refusal(linear(tmp_path / "m.onnx"), text)[1]
    codes = InputSignature("numeric", (4,), tuple("wxyz"), categories=(("u", "v"), (), (), ()))
    assert "categories" in refusal(linear(tmp_path / "m.onnx"), data_of(numbers(), codes))[1]


def hungry(path: Path) -> Path:
    """Asks for 8 GiB at every call."""
    size = numpy_helper.from_array(np.array([1 << 31], dtype=np.int64), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["rows", "weights"], ["z"]),
        helper.make_node("Add", ["z", "sum"], ["scores"]),
    ]
    return write(path, nodes, [size, numpy_helper.from_array(WEIGHTS, "weights")])


def endless(path: Path) -> Path:
    """Adds to the scores 2**60 times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Add", ["so_far", "so_far"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("so_far", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["z"]),
        helper.make_node("Loop", ["steps", "", "z"], ["scores"], body=body),
    ]
    steps = numpy_helper.from_array(np.array(1 << 60, dtype=np.int64), "steps")
    return write(path, nodes, [steps, numpy_helper.from_array(WEIGHTS, "weights")])


def test_a_model_that_wants_too_much_memory_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=r"spec\.teacher\.onnx\.max_memory_mib.*256 MiB"):
        ask(hungry(tmp_path / "m.onnx"), data_of(numbers(), TABLE), max_memory_mib=256)


def test_a_model_that_takes_too_long_is_stopped_and_reaped(tmp_path: Path) -> None:
    field, why = refusal(endless(tmp_path / "m.onnx"), data_of(numbers(), TABLE), max_seconds=1)
    assert (field, "within 1 s" in why) == (f"{FIELD}.max_seconds", True)


def test_the_process_can_do_little_and_sees_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the worker")
    model, data = endless(tmp_path / "m.onnx"), data_of(numbers(), TABLE)
    ended: list[BaseException] = []

    def ask_for_long() -> None:
        try:
            ask(model, data, max_memory_mib=300, max_seconds=10)
        except OutOfMemoryError as error:
            ended.append(error)

    asking = threading.Thread(target=ask_for_long)
    asking.start()

    def limited() -> psutil.Process | None:
        for child in psutil.Process().children():
            if child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0):
                return child
        return None

    child = wait_for(limited)
    wait_for(lambda: child.rlimit(psutil.RLIMIT_NOFILE) == (16, 16))  # the last to be set
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_CPU) == (11, 11)
    assert child.rlimit(psutil.RLIMIT_AS)[1] > 300 << 20
    assert "AWS_SECRET_ACCESS_KEY" not in child.environ()
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    child.kill()  # as the kernel would
    asking.join()
    assert len(ended) == 1


def test_a_model_that_fails_tells_why(tmp_path: Path) -> None:
    # Declared for any number of columns, but its weights fit four.
    model = linear(tmp_path / "m.onnx", shape=["n", None])
    data = data_of(np.zeros((9, 5), np.float32), InputSignature("numeric", (5,), tuple("vwxyz")))
    field, why = refusal(model, data)
    assert (field, "could not run" in why) == (f"{FIELD}.model", True)


def test_e11_a_file_that_reads_others_is_never_run(tmp_path: Path) -> None:
    model = onnx.load(linear(tmp_path / "m.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="secret.bin", size_threshold=0)
    field, why = refusal(path, data_of(numbers(), TABLE))
    assert (field, "other files" in why) == (f"{FIELD}.model", True)


PICTURE = InputSignature("image", (6, 5, 3), ("image",))


def pictures(n: int = 200, shape: tuple[int, ...] = (6, 5, 3)) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, size=(n, *shape), dtype=np.uint8)


def channel_means(path: Path, shape: list[Any], dtype: int, axes: list[int]) -> Path:
    """Scores are the mean of each channel; 50 is added so that they are no probabilities."""
    nodes = [
        helper.make_node("Cast", ["rows"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["means"], keepdims=0),
        helper.make_node("Add", ["means", "fifty"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        numpy_helper.from_array(np.float32(50), "fifty"),
    ]
    return write(path, nodes, constants, shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("shape", "axes"), [(["n", 3, 6, 5], [2, 3]), (["n", 6, 5, 3], [1, 2]), (["n", 3, "h", "w"], [2, 3])]
)
def test_images_are_laid_out_as_the_file_wants_them(tmp_path: Path, shape: list[Any], axes: list[int]) -> None:
    images = pictures()
    raw = images.mean(axis=(1, 2))
    said = ask(channel_means(tmp_path / "u.onnx", shape, TensorProto.UINT8, axes), data_of(images, PICTURE))
    np.testing.assert_allclose(said.unlabeled, raw + 50, rtol=1e-4)
    model = channel_means(tmp_path / "f.onnx", shape, TensorProto.FLOAT, axes)
    np.testing.assert_allclose(ask(model, data_of(images, PICTURE)).unlabeled, raw / 255 + 50, rtol=1e-4)
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    scaled = ask(model, data_of(images, PICTURE), scale=1 / 128, mean=mean, std=std).unlabeled
    np.testing.assert_allclose(scaled, (raw / 128 - mean) / std + 50, rtol=1e-4)


def test_a_layout_that_cannot_be_told_must_be_declared(tmp_path: Path) -> None:
    images = pictures(50)
    model = channel_means(tmp_path / "m.onnx", ["n", None, None, None], TensorProto.UINT8, [1, 2])
    field, why = refusal(model, data_of(images, PICTURE))
    assert (field, "'nchw' or 'nhwc'" in why) == (f"{FIELD}.layout", True)
    said = ask(model, data_of(images, PICTURE), layout="nhwc").unlabeled
    np.testing.assert_allclose(said, images.mean(axis=(1, 2)) + 50, rtol=1e-4)
    square = InputSignature("image", (3, 3, 3), ("image",))
    both = channel_means(tmp_path / "s.onnx", ["n", 3, 3, 3], TensorProto.UINT8, [1, 2])
    assert refusal(both, data_of(pictures(9, (3, 3, 3)), square))[0] == f"{FIELD}.layout"
    other = channel_means(tmp_path / "o.onnx", ["n", 3, 6, 6], TensorProto.UINT8, [2, 3])
    assert "6 x 5 with 3 channels" in refusal(other, data_of(images, PICTURE))[1]
    assert refusal(both, data_of(pictures(9, (3, 3, 3)), square), layout="nhwc", scale=1.0)[0] == f"{FIELD}.scale"


@pytest.mark.skipif("KDAIF_DATA" not in os.environ, reason="KDAIF_DATA names the folder of real data sets")
def test_a_real_resnet_says_what_was_stored() -> None:
    folder = Path(os.environ["KDAIF_DATA"])
    table = pq.read_table(folder / "cifar10" / "test.parquet").slice(0, 300)
    images = np.stack([np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in table["jpeg"].to_pylist()])
    names = tuple("0123456789")
    data = data_of(images, InputSignature("image", (32, 32, 3), ("image",)), names)
    model = folder / "models_cifar10_onnx" / "resnet20_cifar10.onnx"
    said = ask(model, data, class_names=names).unlabeled
    stored = np.load(folder / "cifar10" / "test_teacher_outputs.npz")["resnet20_logits"][:300]
    assert (said.argmax(axis=1) == stored.argmax(axis=1)).mean() >= 0.99
    np.testing.assert_allclose(said, stored, atol=0.02)
    assert (said.argmax(axis=1) == table["label"].to_numpy()).mean() > 0.75
