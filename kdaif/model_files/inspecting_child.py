"""Looks into one model file of a stranger's, under hard limits. A program, not a module.

It is started by its path. The limits fall after the libraries are there and before a byte of the file is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

MEMORY = 10
# What may be told of a file: some thousand tensors by name.
MOST_ANSWER_BYTES = 4 << 20


def main() -> None:
    """Reads a request from the command line; writes ``{"signature": ...}`` or ``{"refused": ...}`` to stdout."""
    request = json.loads(sys.argv[1])
    sys.path.insert(0, str(Path(__file__).parents[2]))  # -I leaves PYTHONPATH out; this very copy, if there are others
    from kdaif.processes import die_with_parent, limit_for_a_strangers_file

    die_with_parent(request["parent"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    from kdaif.errors import InvalidInputError
    from kdaif.model_files import inspect_onnx, inspect_safetensors, inspect_transformer

    inspect: Any = {"ONNX": inspect_onnx, "SAFETENSORS": inspect_safetensors, "TRANSFORMER": inspect_transformer}
    limit_for_a_strangers_file(request["memory_bytes"], request["cpu_seconds"])
    try:
        found: dict[str, Any] = {"signature": dataclasses.asdict(inspect[request["kind"]](Path(request["file"])))}
    except InvalidInputError as error:
        found = {"refused": error.violations[0].description}
    except (MemoryError, RecursionError):
        _end()
    answer = json.dumps(found).encode()
    answers.write(answer if len(answer) <= MOST_ANSWER_BYTES else b'{"refused": "tells more of itself than fits"}')
    answers.close()


def _end() -> NoReturn:
    os._exit(MEMORY)


if __name__ == "__main__":
    main()
