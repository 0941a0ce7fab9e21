"""The student as one ONNX file, the certificate that it computes what torch computed, and the bundle's manifest."""

from kdaif.export.budget import Fitted, largest_within, require_within
from kdaif.export.certificate import Certificate, Parity, certify, checked_rows
from kdaif.export.interface import ANSWER_NAMES, INPUT_NAME, OUTPUT_NAMES, TOKENIZER_NAME, input_spec, value_ranges
from kdaif.export.manifest import MANIFEST_NAME, write_manifest, write_tokenizer
from kdaif.export.onnx_file import IR_VERSION, OPSET, export_onnx
from kdaif.export.variants import GateRows, Variant, make_variants

__all__ = [
    "ANSWER_NAMES",
    "INPUT_NAME",
    "IR_VERSION",
    "MANIFEST_NAME",
    "OPSET",
    "OUTPUT_NAMES",
    "TOKENIZER_NAME",
    "Certificate",
    "Fitted",
    "GateRows",
    "Parity",
    "Variant",
    "certify",
    "checked_rows",
    "export_onnx",
    "input_spec",
    "largest_within",
    "make_variants",
    "require_within",
    "value_ranges",
    "write_manifest",
    "write_tokenizer",
]
