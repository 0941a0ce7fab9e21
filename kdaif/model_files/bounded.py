"""Looks into a model file in a process that may fail: a small file can ask for much when it is parsed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from kdaif.errors import InvalidInputError, UnavailableError
from kdaif.model_files import inspecting_child
from kdaif.records import DatasetKind, ModelSignature

# Whoever uploads many at once waits; each may take what its bounds allow.
_AT_ONCE = threading.BoundedSemaphore(2)


@dataclass(frozen=True)
class Bounds:
    """What looking into a file may take: memory beyond that of the interpreter, processor time and time on the wall.

    Attributes:
        memory_bytes: whatever the file's size.
        memory_per_byte: of an ONNX file, which is read whole; the others are read in part.
        cpu_seconds: of the processor.
        seconds: on the wall; a busy machine gives less of the processor.
    """

    memory_bytes: int = 512 << 20
    memory_per_byte: int = 3
    cpu_seconds: int = 30
    seconds: float = 120.0


def inspect_bounded(file: Path, kind: DatasetKind, bounds: Bounds | None = None) -> ModelSignature:
    """What the inspector of this kind says of a file.

    Args:
        file: whoever may have written it.
        kind: ONNX, TRANSFORMER or SAFETENSORS.
        bounds: of the process.

    Raises:
        InvalidInputError: the file is refused, or is more than fits the bounds.
        UnavailableError: the process was ended from outside.
    """
    bounds = bounds or Bounds()
    memory = bounds.memory_bytes
    if kind is DatasetKind.ONNX:
        memory += bounds.memory_per_byte * file.stat().st_size
    request = {
        "file": str(file.absolute()),
        "kind": kind.value,
        "memory_bytes": memory,
        "cpu_seconds": bounds.cpu_seconds,
        "parent": os.getpid(),
    }
    with _AT_ONCE:
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(Path(inspecting_child.__file__).absolute()), json.dumps(request)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=bounds.seconds,
                check=False,
                env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd="/",
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"takes over {bounds.seconds:g} s to look into") from None
    if ended.returncode == inspecting_child.MEMORY:
        raise _refused("takes more memory to look into than a file of its size should")
    if ended.returncode in (-signal.SIGXCPU, -signal.SIGKILL):  # the kernel's second word at the limit is SIGKILL
        raise _refused(f"takes over {bounds.cpu_seconds} s of the processor, or all of the memory, to look into")
    if ended.returncode:
        told = ended.stderr.decode(errors="replace")[-500:]
        raise UnavailableError(f"could not look into the model file (exit code {ended.returncode}): {told}")
    answer = json.loads(ended.stdout)
    if "refused" in answer:
        raise InvalidInputError.of("dataset", answer["refused"])
    return _SIGNATURE.validate_python(answer["signature"])


_SIGNATURE: TypeAdapter[ModelSignature] = TypeAdapter(ModelSignature)


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError.of("dataset", f"the model file {why}; export a plainer or smaller one")
