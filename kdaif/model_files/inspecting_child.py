"""Looks into one model file of a stranger's, under hard limits. A program, not a module.

It is started by its path. The limits fall after the libraries are there and before a byte of the file is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, NoReturn

MEMORY = 10
# What may be told of a file: some thousand tensors by name.
MOST_ANSWER_BYTES = 4 << 20
_OPEN_FILES = 16


def main() -> None:
    """Reads a request from the command line; writes ``{"signature": ...}`` or ``{"refused": ...}`` to stdout."""
    request = json.loads(sys.argv[1])
    sys.path.insert(0, str(Path(__file__).parents[2]))  # -I leaves PYTHONPATH out; this very copy, if there are others
    from kdaif.processes import die_with_parent

    die_with_parent(request["parent"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    from kdaif.errors import InvalidInputError
    from kdaif.model_files import inspect_onnx, inspect_safetensors, inspect_transformer

    inspect: Any = {"ONNX": inspect_onnx, "SAFETENSORS": inspect_safetensors, "TRANSFORMER": inspect_transformer}
    _limit(request)
    try:
        found: dict[str, Any] = {"signature": dataclasses.asdict(inspect[request["kind"]](Path(request["file"])))}
    except InvalidInputError as error:
        found = {"refused": error.violations[0].description}
    except (MemoryError, RecursionError):
        _end()
    answer = json.dumps(found).encode()
    answers.write(answer if len(answer) <= MOST_ANSWER_BYTES else b'{"refused": "tells more of itself than fits"}')
    answers.close()


def _limit(request: dict[str, Any]) -> None:
    """Memory counts from here on: what the interpreter and its libraries map does not go to the file's account."""
    mapped = 0
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: mapped + request["memory_bytes"],
        resource.RLIMIT_CPU: request["cpu_seconds"],
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (wanted, wanted))


def _end() -> NoReturn:
    os._exit(MEMORY)


if __name__ == "__main__":
    main()
