"""The same ONNX file in Python's onnxruntime, in Node's, and in the browser's, whose wasm ships in its npm package."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

RUNTIMES = ("onnxruntime-node", "onnxruntime-web")

_HERE = Path(__file__).parent
_INSTALL_S, _RUN_S = 300, 120
_NO_REGISTRY = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ECONNRESET")


class MissingRuntimeError(Exception):
    """Something that this comparison needs is not on this machine; the message says what and how to get it."""


@dataclass(frozen=True, eq=False)
class Case:
    """A file, and raw rows for it `[N, ...]` of the dtype that it takes."""

    name: str
    file: Path
    rows: NDArray[Any]


def outputs_of(cases: Sequence[Case], folder: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Logits and probabilities side by side, `[N, 2 C]`, by runtime and by case; ``python`` is the first runtime.

    Installs the npm packages into the folder, which takes half a minute.

    Raises:
        MissingRuntimeError: node, npm, Chromium, Playwright or npm's registry is out of reach.
    """
    _install(folder)
    told = []
    for case in cases:
        shutil.copy(case.file, folder / f"{case.name}.onnx")
        (folder / f"{case.name}.bin").write_bytes(np.ascontiguousarray(case.rows).tobytes())
        told.append({"name": case.name, "dtype": str(case.rows.dtype), "shape": list(case.rows.shape)})
    (folder / "cases.json").write_text(json.dumps(told))
    found: dict[str, dict[str, NDArray[np.float32]]] = {"python": {case.name: _in_python(case) for case in cases}}
    found["onnxruntime-node"] = _in_node(cases, folder)
    found["onnxruntime-web"] = _in_browser(cases, told, folder)
    return found


def largest_difference(outputs: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> dict[str, float]:
    """Of each other runtime to Python's, over all cases, rows and outputs."""
    expected = outputs["python"]
    return {
        runtime: max(float(np.abs(of_case - expected[name]).max()) for name, of_case in outputs[runtime].items())
        for runtime in RUNTIMES
    }


def _install(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise MissingRuntimeError("npm is not installed; 'apt-get install nodejs npm' brings it")
    for name in ("package.json", "package-lock.json", "run.js", "page.html"):
        shutil.copy(_HERE / name, folder)
    # Its scripts would fetch libraries for GPUs.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(folder / "npm-cache")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode != 0:
        if any(word in done.stderr for word in _NO_REGISTRY):
            raise MissingRuntimeError(f"npm's registry cannot be reached: {done.stderr[-300:]}")
        raise RuntimeError(f"npm ci failed: {done.stderr[-2000:]}")


def _in_python(case: Case) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(case.file, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logits", "probabilities"], {"input": case.rows})
    return np.concatenate([logits, probabilities], axis=1)


def _in_node(cases: Sequence[Case], folder: Path) -> dict[str, NDArray[np.float32]]:
    done = subprocess.run(
        ["node", "run.js", "."], cwd=folder, capture_output=True, text=True, timeout=_RUN_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"node failed: {done.stderr[-2000:]}")
    return {case.name: _side_by_side(np.fromfile(folder / f"{case.name}.node.bin", np.float32), case) for case in cases}


def _in_browser(
    cases: Sequence[Case], told: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, NDArray[np.float32]]:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise MissingRuntimeError("chromium is not installed; 'apt-get install chromium' brings it")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingRuntimeError("playwright is not installed; 'pip install playwright' brings it") from error
    with _served(folder) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.set_default_timeout(_RUN_S * 1000)
            page.goto(f"{address}/page.html")
            page.wait_for_function('typeof window.run === "function"')
            return {
                case.name: _side_by_side(np.array(page.evaluate("told => window.run(told)", one), np.float32), case)
                for case, one in zip(cases, told, strict=True)
            }
        finally:
            browser.close()


def _side_by_side(flat: NDArray[np.float32], case: Case) -> NDArray[np.float32]:
    logits, probabilities = flat.reshape(2, len(case.rows), -1)
    return np.concatenate([logits, probabilities], axis=1)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
