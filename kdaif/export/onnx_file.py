"""From a torch student to one self-contained ONNX file whose bytes depend on the student alone."""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from kdaif.errors import InvalidInputError, TrainingError
from kdaif.export.interface import BATCH_SYMBOL, INPUT_NAME, OUTPUT_NAMES, input_dtype, input_spec
from kdaif.model_files import graphs_of, nodes_of, trains
from kdaif.students import Student

OPSET = 18
# The exporter stamps IR 10, which onnxruntime before 1.18 refuses. The graph uses nothing newer than IR 8.
IR_VERSION = 8


def export_onnx(student: Student, file: Path, class_names: Sequence[str], *, temperature: float = 1.0) -> None:
    """Writes the student as one ONNX file: opset 18, IR 8, no external data, batch axis dynamic.

    Input "input" takes raw rows (preprocessing is inside); outputs are "logits" and "probabilities", float32
    ``[batch, C]``: the student's own logits, and the softmax of these divided by the temperature. ``metadata_props``
    hold ``kdaif.class_names``, ``kdaif.input`` and ``kdaif.temperature`` as JSON. Names of source files, stack traces
    and doc strings are stripped, so a student gives the same bytes in every directory and process.

    Args:
        student: exported as an eval copy on the CPU; itself left where and as it is.
        file: written or replaced; its folder exists.
        class_names: the ``C`` names, in the order of the logits.
        temperature: of the probabilities, above 0.

    Raises:
        InvalidInputError: the number of names is not the number of logits, or the temperature is not above 0.
        TrainingError: the graph holds an operator that only makes sense in training, or is not valid ONNX.
    """
    model = copy.deepcopy(student).to("cpu").eval()
    _check_class_names(model, class_names)
    if not 0 < temperature < math.inf:
        raise InvalidInputError.of("temperature", f"a finite number above 0, not {temperature}")
    proto = _to_onnx(_WithProbabilities(model, temperature).eval(), _example(model))
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "kdaif", ""
    onnx.helper.set_model_props(
        proto,
        {
            "kdaif.class_names": json.dumps(list(class_names), ensure_ascii=False),
            "kdaif.input": json.dumps(input_spec(student.signature), ensure_ascii=False, sort_keys=True),
            "kdaif.temperature": json.dumps(temperature),
        },
    )
    refuse_training_operators(proto)
    write_proto(proto, file)


def write_proto(proto: onnx.ModelProto, file: Path) -> None:
    """Strips, checks and writes a graph, so that the same one gives the same bytes wherever it is made.

    Raises:
        TrainingError: it is not valid ONNX.
    """
    _strip(proto)
    _check_valid(proto)
    file.write_bytes(proto.SerializeToString(deterministic=True))


def refuse_training_operators(proto: onnx.ModelProto) -> None:
    """Refuses a graph that would drop out or renormalise at inference.

    Raises:
        TrainingError: a Dropout with a training input, a BatchNormalization with ``training_mode=1``, or an operator of
            a training domain; the message names the nodes.
    """
    bad = [f"{node.op_type} {node.name!r}" for node in nodes_of(proto) if trains(node)]
    if bad:
        raise TrainingError(
            f"the exported student holds training operators: {', '.join(bad[:10])}; it must behave the same on every "
            "call, so remove the module that ignores eval mode"
        )


class _WithProbabilities(nn.Module):
    """The student with both outputs of the file."""

    def __init__(self, student: nn.Module, temperature: float) -> None:
        super().__init__()
        self.student = student
        self.temperature = temperature

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.student(rows)
        return logits, torch.softmax(logits / self.temperature, dim=1)


def _example(model: Student) -> Tensor:
    # Two rows: torch.export takes a batch of 0 or 1 for a constant.
    return torch.from_numpy(np.zeros((2, *model.signature.shape), dtype=input_dtype(model.signature)))


def _check_class_names(model: Student, class_names: Sequence[str]) -> None:
    with torch.inference_mode():
        n_classes = model(_example(model)).shape[1]
    if len(class_names) != n_classes:
        raise InvalidInputError.of("class_names", f"{n_classes} names, one per logit, not {len(class_names)}")


def _to_onnx(model: nn.Module, example: Tensor) -> onnx.ModelProto:
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: torch.export.Dim(BATCH_SYMBOL)},),
        )
    if program is None:
        raise TrainingError("torch.onnx.export returned no program; the student cannot be exported")
    proto: onnx.ModelProto = program.model_proto
    _halve_last(proto)
    return proto


def _halve_last(proto: onnx.ModelProto) -> None:
    """Writes ``x * (0.5 * y)`` as ``(x * y) * 0.5``, ``y = 1 + erf(...)``, which is the same number.

    Opset 18 has no Gelu, and this is the order in which onnxruntime knows one and runs it as a single operator.
    """
    made = {node.output[0]: node for node in proto.graph.node}
    uses = Counter(name for node in proto.graph.node for name in node.input)
    halves = {
        tensor.name
        for tensor in proto.graph.initializer
        if not tensor.dims and onnx.numpy_helper.to_array(tensor) == 0.5
    }

    def maker(name: str, op_type: str) -> onnx.NodeProto | None:
        found = made.get(name)
        return found if found is not None and found.op_type == op_type else None

    for node in proto.graph.node:
        half = maker(node.input[1], "Mul") if node.op_type == "Mul" else None
        if half is None or half.input[0] not in halves or uses[half.output[0]] > 1:
            continue
        total = maker(half.input[1], "Add")
        if total is not None and maker(total.input[0], "Erf") is not None:
            x, constant, y = node.input[0], half.input[0], half.input[1]
            half.input[:], node.input[:] = [x, y], [half.output[0], constant]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    # On every export torch logs that torchvision is not there, which no student needs.
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Raised inside torch 2.13 itself while it copies its own pytree specs; nothing here touches them.
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            yield
    finally:
        log.setLevel(level)


def _strip(proto: onnx.ModelProto) -> None:
    """Removes all that tells where and how the file was made; none of it changes what the file computes."""
    proto.ClearField("doc_string")
    parts: list[Any] = []
    for graph in graphs_of(proto):
        # Shapes of intermediate values: every runtime infers them again.
        graph.ClearField("value_info")
        parts += [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _check_valid(proto: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except onnx.checker.ValidationError as error:
        raise TrainingError(f"the exported student is not valid ONNX: {error}") from error
