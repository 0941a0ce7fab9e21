"""What an ONNX file asks for and answers, and whether it may be run at all. Read as data: nothing is executed.

External data is how a model file reads other files of its host (CVE-2024-27318, CVE-2024-5187), so it is refused
wherever a tensor can stand: initializers, attributes, subgraphs and functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from kdaif.errors import InvalidInputError
from kdaif.model_files.onnx_graph import graphs_of, nodes_of, trains
from kdaif.records import ModelTensor, OnnxSignature

MAX_BYTES = 1 << 30
# Of the two names of the standard's own domain, ONNX's tables of operators know the empty one alone.
_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
_SHOWN = 10
_MOST_VALUES = 100
_LONGEST_NAME = 256


def inspect_onnx(path: Path) -> OnnxSignature:
    """Reads the graph of a model file.

    Raises:
        InvalidInputError: over 1 GiB; no ONNX model; reads other files; holds an operator that is not in the standard
            or that only makes sense in training; or has no input or no output, or over 100 of them.
        MemoryError: its graph does not fit into the memory that this process may have.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise _refused(f"is {size} bytes, over {MAX_BYTES} (1 GiB); export a smaller model, or its outputs as a column")
    model = _parsed(path)
    # What is foreign is seen at the first nodes; tensors are looked for in all of them.
    _refuse_operators(model)
    _refuse_external_data(model)
    _refuse_empty_inputs(model)
    given = {tensor.name for tensor in model.graph.initializer}
    given |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    signature = OnnxSignature(
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in given),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        opset=max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0),
    )
    if not signature.inputs or not signature.outputs:
        raise _refused("has no input or no output; export the whole model, from rows to class scores")
    values = (*signature.inputs, *signature.outputs)
    if len(values) > _MOST_VALUES or any(len(value.name) > _LONGEST_NAME for value in values):
        raise _refused(
            f"has {len(values)} inputs and outputs, or very long names of them; export it with at most {_MOST_VALUES}, "
            f"and names of at most {_LONGEST_NAME} characters"
        )
    return signature


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        if "alloc" in str(error):  # how protobuf says that the memory is used up
            raise MemoryError(str(error)) from error
        raise _refused("is no ONNX model; export it again and re-upload") from error
    if not model.ir_version or not model.HasField("graph") or not model.graph.node:
        raise _refused("holds no graph; export it again and re-upload")
    if model.training_info:
        raise _refused("holds a training graph; export it for inference")
    return model


def _refuse_external_data(model: onnx.ModelProto) -> None:
    outside = [
        tensor.name or "unnamed"
        for tensor in _tensors(model)
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    if outside:
        raise _refused(
            f"keeps {len(outside)} tensors in other files ({_listed(outside)}), and kdaif never follows a model out of "
            "its own file; save it in one: onnx.save_model(model, path, save_as_external_data=False)"
        )


def _refuse_empty_inputs(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        axes = value.type.tensor_type.shape.dim
        if any(axis.HasField("dim_value") and axis.dim_value == 0 for axis in axes):
            raise _refused(
                f"declares an axis of size 0 for its input {value.name[:_LONGEST_NAME]!r}, and onnxruntime takes it at "
                "its word: no row would go in; export it with a named (dynamic) axis"
            )


def _refuse_operators(model: onnx.ModelProto) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    foreign: list[str] = []
    for node in nodes_of(model):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type or "one without a name"
        if trains(node):
            raise _refused(f"holds training operators (such as {name}); export it in eval mode")
        if not _is_standard(node) and (node.domain, node.op_type) not in functions:
            foreign.append(name)
            if len(foreign) == _SHOWN:
                break
    if foreign:
        raise _refused(
            f"holds operators outside the ONNX standard ({_listed(foreign)}), which kdaif does not run; export it with "
            "operators of the domains ai.onnx and ai.onnx.ml alone"
        )


def _is_standard(node: onnx.NodeProto) -> bool:
    return node.domain in _DOMAINS and bool(onnx.defs.has(node.op_type, _DOMAINS[node.domain]))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in graphs_of(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in _attributes(model):
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t
        inner = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for sparse in (*inner, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    for node in nodes_of(model):
        yield from node.attribute
    for function in model.functions:
        yield from function.attribute_proto


def _tensor(value: onnx.ValueInfoProto) -> ModelTensor:
    kind = value.type.WhichOneof("value") or "unknown"
    if kind != "tensor_type":
        return ModelTensor(value.name, kind.removesuffix("_type"), None)
    type_ = value.type.tensor_type
    shape = None
    if type_.HasField("shape"):
        # Some exporters write -1 for an axis that may change, as numpy does.
        shape = tuple(axis.dim_value if axis.dim_value > 0 else None for axis in type_.shape.dim)
    return ModelTensor(value.name, _dtype(type_.elem_type), shape)


def _dtype(code: int) -> str:
    if code == onnx.TensorProto.STRING:
        return "string"
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code)).name)
    except KeyError:
        return "unknown"


def _listed(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    shown = ", ".join(distinct[:_SHOWN])
    return f"{shown} and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else shown


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError.of("dataset", f"the model file {why}")
