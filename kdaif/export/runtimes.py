"""Which releases of onnxruntime read a file."""

from __future__ import annotations

import onnx

from kdaif.records import OLDEST_ONNXRUNTIME

# The oldest release that was run on files of this opset and IR; still older ones were not tried.
_OLDEST = {(18, 8): OLDEST_ONNXRUNTIME}


def opset_and_ir(proto: onnx.ModelProto) -> tuple[int, int]:
    """Of a file: the opset of ONNX's own operators, 0 where there are others as well, and the version of the format."""
    opsets = {entry.domain: int(entry.version) for entry in proto.opset_import}
    return (opsets[""] if set(opsets) == {""} else 0), int(proto.ir_version)


def oldest_onnxruntime(opset: int, ir_version: int) -> str:
    """Release that is known to read them, such as "1.15"; empty when none is known."""
    return _OLDEST.get((opset, ir_version), "")
