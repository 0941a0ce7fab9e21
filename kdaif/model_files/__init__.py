"""Model files of the user's own, looked at without running them: ONNX graphs and packed text encoders. No torch."""

from kdaif.model_files.onnx_file import OnnxSignature, OnnxTensor, inspect_onnx
from kdaif.model_files.onnx_graph import graphs_of, nodes_of, trains
from kdaif.model_files.transformer_archive import TransformerSignature, inspect_transformer, unpack_transformer

__all__ = [
    "OnnxSignature",
    "OnnxTensor",
    "TransformerSignature",
    "graphs_of",
    "inspect_onnx",
    "inspect_transformer",
    "nodes_of",
    "trains",
    "unpack_transformer",
]
