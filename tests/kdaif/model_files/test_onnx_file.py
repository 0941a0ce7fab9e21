"""What an ONNX file may hold. E11: it must not read other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdaif.errors import InvalidInputError
from kdaif.model_files import inspect_onnx, onnx_file
from kdaif.records import ModelTensor

FLOAT = TensorProto.FLOAT


def model_of(nodes: list[Any], initializers: tuple[Any, ...] = (), **more: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2]), helper.make_tensor_value_info("w", FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 2])],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **more)


def weights() -> TensorProto:
    return numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")


def outside(name: str = "w") -> TensorProto:
    """A tensor whose values are in another file of the host."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def product() -> Any:
    return helper.make_node("MatMul", ["x", "w"], ["y"])


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInputError) as refused:
        inspect_onnx(path)
    assert refused.value.violations[0].field == "dataset"
    return refused.value.violations[0].description


def test_inputs_and_outputs_are_told_and_initializers_are_no_inputs(tmp_path: Path) -> None:
    found = inspect_onnx(write(tmp_path / "m.onnx", model_of([product()], (weights(),))))
    assert found.inputs == (ModelTensor("x", "float32", (None, 2)),)
    assert found.outputs == (ModelTensor("y", "float32", (None, 2)),)
    assert found.opset == 18
    assert len(inspect_onnx(write(tmp_path / "n.onnx", model_of([product()]))).inputs) == 2


def in_a_subgraph(tensor: TensorProto, where: str) -> Any:
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    nodes = [constant] if where == "attribute" else [helper.make_node("Identity", ["s"], ["c"])]
    inner = helper.make_graph(nodes, "inner", [], [helper.make_tensor_value_info("c", FLOAT, [2, 2])])
    if where == "initializer":
        tensor.name = "s"
        inner.initializer.append(tensor)
    return helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner)


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "subgraph attribute", "function", "sparse"])
def test_e11_external_data_is_refused_wherever_it_stands(tmp_path: Path, place: str) -> None:
    model = model_of([product()], (weights(),))
    match place:
        case "initializer":
            model = model_of([product()], (outside(),))
        case "attribute":
            model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside("c")))
        case "subgraph":
            model.graph.node.append(in_a_subgraph(outside(), "initializer"))
        case "subgraph attribute":
            model.graph.node.append(in_a_subgraph(outside(), "attribute"))
        case "function":
            body = [helper.make_node("Constant", [], ["c"], value=outside("c"))]
            function = helper.make_function("own", "F", [], ["c"], body, [helper.make_opsetid("", 18)])
            model.functions.append(function)
        case "sparse":
            model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=outside(), dims=[2, 2]))
    why = refusal(write(tmp_path / "m.onnx", model))
    assert "1 tensors in other files" in why or "2 tensors in other files" in why
    assert "save_as_external_data=False" in why


def test_operators_of_others_are_refused(tmp_path: Path) -> None:
    def of(node: Any) -> str:
        return refusal(write(tmp_path / "m.onnx", model_of([node], (weights(),))))

    assert "com.acme.Leak" in of(helper.make_node("Leak", ["x"], ["y"], domain="com.acme"))
    assert "com.microsoft.Gelu" in of(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))
    assert "NoSuchOperator" in of(helper.make_node("NoSuchOperator", ["x"], ["y"]))
    inner = helper.make_graph(
        [helper.make_node("Leak", ["x"], ["c"], domain="com.acme")],
        "inner",
        [],
        [helper.make_tensor_value_info("c", FLOAT, [2])],
    )
    assert "com.acme.Leak" in of(helper.make_node("If", ["q"], ["y"], then_branch=inner, else_branch=inner))


def test_a_function_that_the_file_itself_defines_may_be_called(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Double", ["x"], ["y"], domain="own")], (weights(),))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("own", "Double", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))
    assert inspect_onnx(write(tmp_path / "m.onnx", model)).outputs[0].name == "y"


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Dropout", ["x", "", "w"], ["y"]),
        helper.make_node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"], training_mode=1),
        helper.make_node("Gradient", ["x"], ["y"], domain="ai.onnx.preview.training"),
    ],
)
def test_training_operators_are_refused(tmp_path: Path, node: Any) -> None:
    assert "eval mode" in refusal(write(tmp_path / "m.onnx", model_of([node], (weights(),))))


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"PAR1 and so on", b"\x80\x04\x95", b"\x08\x08"):
        (tmp_path / "m.onnx").write_bytes(content)
        assert "export it again" in refusal(tmp_path / "m.onnx")
    whole = write(tmp_path / "whole.onnx", model_of([product()], (weights(),)))
    (tmp_path / "cut.onnx").write_bytes(whole.read_bytes()[:-20])
    assert "export it again" in refusal(tmp_path / "cut.onnx")
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 10)
    assert "1 GiB" in refusal(whole)


def test_the_other_name_of_the_standard_s_domain(tmp_path: Path) -> None:
    node = product()
    node.domain = "ai.onnx"
    assert inspect_onnx(write(tmp_path / "m.onnx", model_of([node], (weights(),)))).outputs[0].name == "y"


def test_axes_without_a_size_may_change_and_one_of_size_0_takes_no_row(tmp_path: Path) -> None:
    model = model_of([product()], (weights(),))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert inspect_onnx(write(tmp_path / "m.onnx", model)).inputs[0].shape == (None, 2)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    assert "axis of size 0" in refusal(write(tmp_path / "m.onnx", model))


def test_very_many_inputs_or_very_long_names(tmp_path: Path) -> None:
    model = model_of([product()], (weights(),))
    for place in range(100):
        model.graph.output.append(helper.make_tensor_value_info(f"y{place}", FLOAT, ["n", 2]))
    assert "102 inputs and outputs" in refusal(write(tmp_path / "m.onnx", model))
    model = model_of([product()], (weights(),))
    model.graph.output[0].name = "y" * 1000
    assert "256 characters" in refusal(write(tmp_path / "m.onnx", model))
