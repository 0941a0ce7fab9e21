"""Model files of the user's own, looked at without running them: ONNX graphs and packed text encoders. No torch."""

from kdaif.model_files.bounded import Bounds, inspect_bounded
from kdaif.model_files.onnx_file import inspect_onnx
from kdaif.model_files.onnx_graph import graphs_of, nodes_of, trains
from kdaif.model_files.safetensors_header import inspect_safetensors
from kdaif.model_files.transformer_archive import inspect_transformer, unpack_transformer

__all__ = [
    "Bounds",
    "graphs_of",
    "inspect_bounded",
    "inspect_onnx",
    "inspect_safetensors",
    "inspect_transformer",
    "nodes_of",
    "trains",
    "unpack_transformer",
]
