"""Smaller files of the same student: weights stored as fp16, and int8 arithmetic."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from kdaif.errors import TrainingError
from kdaif.export.interface import INPUT_NAME
from kdaif.export.onnx_file import IR_VERSION, write_proto

_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul", "Gather")
_CALIBRATION_BATCH = 64
_TRANSFORMER_OPERATORS = ["MatMul", "Gemm"]
# With those around them in int8 as well, a convolution's numbers need not go to float and back.
_OPERATORS = [*_TRANSFORMER_OPERATORS, "Conv", "Relu", "Clip", "MaxPool", "AveragePool", "ReduceMean", "Add"]


def write_fp16(fp32: Path, file: Path) -> None:
    """Stores the weights as fp16 and computes in fp32: half the file, at the speed of the fp32 one.

    onnxruntime has next to no fp16 arithmetic on a CPU: a graph of it runs in fp32 with a cast around every operator,
    and is slower. A cast of a constant is done once, when the session opens. Inputs, outputs and preprocessing stay as
    they are.

    Raises:
        TrainingError: a weight is beyond what fp16 can hold.
    """
    proto = onnx.load(fp32)
    weights = {name for node in proto.graph.node if node.op_type in _WITH_WEIGHTS for name in node.input}
    casts = []
    for tensor in proto.graph.initializer:
        # Biases and the like are too few to matter.
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
            raise TrainingError(f"weight {name!r} holds {np.abs(values).max():.3g}, and fp16 ends at 65504")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    write_proto(proto, file)


def write_int8(fp32: Path, file: Path, calibration: NDArray[Any]) -> None:
    """Quantises statically (QDQ, activations uint8, weights int8 per channel), by the ranges that real rows reach.

    Never by ranges of the rows at hand ("dynamic"): an answer would then depend on its neighbours in the batch. Weights
    use 7 of their 8 bits: with all 8, sums of two products overflow on CPUs without VNNI, where the gate, which runs
    here, cannot see it. Of a transformer only products with weights are quantised. Preprocessing stays in fp32.

    Args:
        fp32: of `export_onnx`.
        file: written or replaced.
        calibration: real raw rows that the student was trained on.
    """
    proto = onnx.load(fp32)
    is_transformer = any(node.op_type == "LayerNormalization" for node in proto.graph.node)
    with tempfile.TemporaryDirectory(prefix="kdaif-int8-") as folder, _without_advice():
        made = Path(folder) / "int8.onnx"
        quantize_static(
            str(fp32),
            str(made),
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_TRANSFORMER_OPERATORS if is_transformer else _OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_before_weights(proto),
            extra_options={"MatMulConstBOnly": True},
        )
        quantised = onnx.load(made)
    quantised.ir_version = IR_VERSION
    quantised.producer_name, quantised.producer_version = proto.producer_name, ""
    quantised.ClearField("metadata_props")
    quantised.metadata_props.extend(proto.metadata_props)
    write_proto(quantised, file)


def _before_weights(proto: onnx.ModelProto) -> list[str]:
    """Names of the nodes that no weight has reached: the preprocessing, whose numbers may be of any size."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    reached: set[str] = set()
    before = []
    for node in proto.graph.node:
        # A Gather of the input by constant places picks columns; one from a constant looks embeddings up.
        weighed = node.input[:1] if node.op_type == "Gather" else node.input
        has_weights = node.op_type in _WITH_WEIGHTS and any(name in constants for name in weighed)
        if has_weights or any(name in reached for name in node.input):
            reached.update(node.output)
        else:
            before.append(node.name)
    return before


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, rows: NDArray[Any]) -> None:
        starts = range(0, len(rows), _CALIBRATION_BATCH)
        self._batches = iter([np.ascontiguousarray(rows[start : start + _CALIBRATION_BATCH]) for start in starts])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


@contextmanager
def _without_advice() -> Iterator[None]:
    # onnxruntime advises to optimise the graph first, which the exporter has done.
    root = logging.getLogger()

    def is_other(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
