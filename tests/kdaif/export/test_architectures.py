"""Every architecture computes in onnxruntime what it computes in torch, edge rows among them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kdaif.export import certify, export_onnx, input_spec
from kdaif.export.timing import medians_ms, open_session
from kdaif.model_files import nodes_of
from kdaif.students import build_student
from tests.kdaif.inputs import ARCHITECTURES, TABLE, TEXT, rows_of

CLASSES = ("cat", "dog", "owl")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_e1_parity_of_every_architecture_at_every_batch_size(name: str, tmp_path: Path) -> None:
    network, signature = ARCHITECTURES[name]
    student = build_student(network, signature, 3, rows_of(signature, 60), seed=1)
    student(torch.from_numpy(rows_of(signature, 60)))  # moves what BatchNorm remembers
    file = tmp_path / "student.onnx"

    export_onnx(student, file, CLASSES, temperature=1.5)
    certificate = certify(student, file, rows_of(signature, 70, seed=3), temperature=1.5)

    certificate.require_passed()
    assert [entry.batch for entry in certificate.parity] == [1, 2, 3, 64]
    assert certificate.rows == 70 + certificate.edge_rows
    assert (certificate.opset, certificate.ir_version) == (18, 8)
    used = {node.op_type for node in onnx.load(file).graph.node}
    assert not used & {"EmbeddingBag", "ATen", "Dropout"}


@pytest.mark.parametrize("name", ["bag", "bag-hidden"])
def test_e9_embeddings_are_looked_up_for_a_whole_batch_at_once(name: str, tmp_path: Path) -> None:
    network, signature = ARCHITECTURES[name]
    student = build_student(network, signature, 3, rows_of(signature, 30), seed=1)
    export_onnx(student, tmp_path / "student.onnx", CLASSES)
    used = [node.op_type for node in nodes_of(onnx.load(tmp_path / "student.onnx"))]
    assert not set(used) & {"Loop", "Scan", "If", "EmbeddingBag"}
    session, rows = open_session(tmp_path / "student.onnx"), rows_of(signature, 64)
    one, many = medians_ms([lambda: session.run(None, {"input": rows[:1]}), lambda: session.run(None, {"input": rows})])
    # A loop over the rows takes 64 times what one row does, and more.
    assert many < 16 * one


def test_edge_rows_of_a_table_hold_unknown_values_and_nulls(tmp_path: Path) -> None:
    network, signature = ARCHITECTURES["mlp-table"]
    rows = rows_of(signature, 30)
    rows[:, 0] = np.nan
    student = build_student(network, signature, 3, rows, seed=1)
    export_onnx(student, tmp_path / "student.onnx", CLASSES)
    assert certify(student, tmp_path / "student.onnx", rows).edge_rows == 4
    assert onnx.load(tmp_path / "student.onnx").graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_word_pieces_go_in_as_int32(tmp_path: Path) -> None:
    network, signature = ARCHITECTURES["bag"]
    student = build_student(network, signature, 3, rows_of(signature, 30), seed=1)
    export_onnx(student, tmp_path / "student.onnx", CLASSES)
    (given,) = open_session(tmp_path / "student.onnx").get_inputs()
    assert (given.name, given.type, given.shape) == ("input", "tensor(int32)", ["batch", 6])


def test_the_input_is_told_with_categories_and_nulls() -> None:
    told = json.loads(json.dumps(input_spec(TABLE)))
    assert told["columns"] == ["age", "colour", "height", "size"]
    assert told["categories"] == {"colour": ["red", "green", "blue"], "size": ["1", "2"]}
    assert told["nullable"] == ["age", "colour"]
    assert told["dtype"] == "float32"
    assert input_spec(TEXT) == {
        "name": "input",
        "kind": "text",
        "dtype": "int32",
        "shape": ["batch", 6],
        "columns": ["text"],
        "layout": None,
        "tokenizer": "tokenizer.json",
        "padding": 0,
    }


def test_a_gelu_runs_as_one_operator_though_opset_18_has_none(tmp_path: Path) -> None:
    student = build_student(*ARCHITECTURES["text-encoder"], 3, rows_of(ARCHITECTURES["text-encoder"][1], 30), seed=1)
    export_onnx(student, tmp_path / "student.onnx", CLASSES)
    made = {node.op_type for node in onnx.load(tmp_path / "student.onnx").graph.node}
    assert "Erf" in made
    assert "Gelu" not in made
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(tmp_path / "student.onnx", options, providers=["CPUExecutionProvider"])
    run = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "Erf" not in run
    assert run & {"Gelu", "BiasGelu"}
