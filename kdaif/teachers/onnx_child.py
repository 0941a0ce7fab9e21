"""Runs one model file of a stranger's: batches of rows in, logits out, under hard limits. A program, not a module.

It is started by its path, so that the interpreter loads numpy and onnxruntime and nothing else. The limits fall after
these two are there and before a byte of the model is read.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

MEMORY, MODEL, OUTPUT = 10, 11, 12
_ALLOCATION = ("bad_alloc", "bad allocation", "allocate memory", "Failed to allocate")


def main() -> None:
    """Reads a request from the command line, batches from stdin; writes float32 logits to stdout."""
    request = json.loads(sys.argv[1])
    sys.path.insert(0, str(Path(__file__).parents[2]))  # -I leaves PYTHONPATH out; this very copy, if there are others
    from kdaif.processes import die_with_parent, limit_for_a_strangers_file

    die_with_parent(request["parent"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    import numpy as np
    import onnxruntime

    limit_for_a_strangers_file(request["max_memory_bytes"], request["max_seconds"] + 1)
    try:
        with os.fdopen(request["model_fd"], "rb") as file:
            session = _session(onnxruntime, file.read())
        _answer(np, session, request, answers)
    except MemoryError:
        _end(MEMORY, "out of memory")
    except Exception as error:
        _end(MEMORY if any(word in str(error) for word in _ALLOCATION) else MODEL, str(error))
    answers.close()


def _session(onnxruntime: Any, model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    # From bytes, so that there is no folder in which the model could look for other files.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answer(np: Any, session: Any, request: dict[str, Any], answers: Any) -> None:
    dtype, shape, batch = np.dtype(request["dtype"]), tuple(request["shape"]), request["batch"]
    for start in range(0, request["rows"], batch):
        count = min(batch, request["rows"] - start)
        rows = _read(np, dtype, (count, *shape))
        if request["pad"] and count < batch:
            rows = np.concatenate([rows, np.repeat(rows[-1:], batch - count, axis=0)])
        found = session.run([request["output"]], {request["input"]: rows})[0]
        wanted = (len(rows), request["classes"])
        if getattr(found, "shape", None) != wanted or found.dtype.kind != "f":
            told = f"{found.dtype} {list(found.shape)}" if hasattr(found, "shape") else type(found).__name__
            _end(OUTPUT, f"gives {told} for {len(rows)} rows, where floats {list(wanted)} are expected")
        answers.write(np.ascontiguousarray(found[:count], dtype=np.float32).data)


def _read(np: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    rows = np.empty(shape, dtype)
    source: Any = sys.stdin.buffer
    if source.readinto(memoryview(rows).cast("B")) != rows.nbytes:
        raise EOFError("the rows end too early")
    return rows


def _end(code: int, message: str) -> NoReturn:
    sys.stderr.write(message[-2000:])
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
