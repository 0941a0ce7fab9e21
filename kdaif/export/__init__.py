"""The student as one ONNX file, the certificate that it computes what torch computed, and the bundle's manifest."""

from kdaif.export.budget import Fitted, largest_within
from kdaif.export.certificate import Certificate, Parity, certify
from kdaif.export.interface import INPUT_NAME, OUTPUT_NAMES, TOKENIZER_NAME, input_spec
from kdaif.export.manifest import MANIFEST_NAME, write_manifest, write_tokenizer
from kdaif.export.onnx_file import IR_VERSION, OPSET, export_onnx

__all__ = [
    "INPUT_NAME",
    "IR_VERSION",
    "MANIFEST_NAME",
    "OPSET",
    "OUTPUT_NAMES",
    "TOKENIZER_NAME",
    "Certificate",
    "Fitted",
    "Parity",
    "certify",
    "export_onnx",
    "input_spec",
    "largest_within",
    "write_manifest",
    "write_tokenizer",
]
