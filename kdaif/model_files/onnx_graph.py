"""Every graph and node of an ONNX model, subgraphs and functions among them, and which nodes train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every subgraph, those of functions too."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _inside(node.attribute)
        yield from _inside(function.attribute_proto)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of every graph and function."""
    for graph in graphs_of(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def trains(node: onnx.NodeProto) -> bool:
    """Whether the node behaves as in training, which no exported file should."""
    if "training" in node.domain:
        return True
    if node.op_type == "Dropout":
        # The third input switches it on. In eval mode exporters leave Dropout out altogether.
        return len(node.input) > 2 and node.input[2] != ""
    if node.op_type == "BatchNormalization":
        return any(attribute.name == "training_mode" and attribute.i == 1 for attribute in node.attribute)
    return False


def _with_subgraphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        yield from _inside(node.attribute)


def _inside(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _with_subgraphs(graph)
