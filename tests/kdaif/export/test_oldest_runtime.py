"""The files run on the oldest onnxruntime that they name, and on the one that specs ask for: real ones, from PyPI."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from kdaif.export import OUTPUT_NAMES, certify, export_onnx
from kdaif.export.timing import open_session
from kdaif.export.variant_files import write_fp16, write_int8
from kdaif.records import OLDEST_ONNXRUNTIME
from kdaif.students import build_student
from tests.kdaif.inputs import ARCHITECTURES, rows_of

RELEASES = ("1.15.1", "1.16.3")
NAMES = ("mlp-table", "layers-image", "cnn", "resnet", "mobilenet", "bag-hidden", "text-encoder")
# In a process of its own: two releases do not fit into one.
PROGRAM = """
import sys
from pathlib import Path
import numpy, onnxruntime
assert onnxruntime.__version__ == sys.argv[2], onnxruntime.__version__
for file in sorted(Path(sys.argv[1]).glob("*/*.onnx")):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rows, expected = numpy.load(file.parent / "rows.npy"), numpy.load(file.with_suffix(".npz"))
    for batch in (1, 64):
        names = ["logits", "probabilities", "features"]
        for name, found in zip(names, session.run(names, {"input": rows[:batch]})):
            off = float(numpy.abs(found - expected[name][:batch]).max())
            assert off < 1e-5, (str(file), name, batch, off)
    print(file.relative_to(sys.argv[1]).as_posix())
"""


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    # What this process imports from must not come before the packages of the other environment.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=own, timeout=300)


def environment(folder: Path, release: str) -> Path:
    """A virtual environment with that release alone; skips the test where there is none to be had."""
    python = shutil.which("python3.11")
    if python is None:
        pytest.skip("python3.11, the newest that these releases run on with numpy 1, is not installed")
    made = run([python, "-m", "venv", folder])
    assert made.returncode == 0, made.stderr
    own = folder / "bin" / "python"
    wanted = [f"onnxruntime=={release}", "numpy<2"]
    installed = run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
    if installed.returncode != 0:
        pytest.skip(f"onnxruntime {release} cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    return own


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name in NAMES:
        network, signature = ARCHITECTURES[name]
        rows = rows_of(signature, 64)
        student = build_student(network, signature, 3, rows, seed=1)
        student.train()(torch.from_numpy(rows))
        own = folder / name
        own.mkdir()
        export_onnx(student, own / "model.onnx", ("cat", "dog", "owl"), temperature=1.5)
        write_fp16(own / "model.onnx", own / "model.fp16.onnx")
        write_int8(own / "model.onnx", own / "model.int8.onnx", rows)
        assert certify(student, own / "model.onnx", rows, temperature=1.5).oldest_onnxruntime == OLDEST_ONNXRUNTIME
        np.save(own / "rows.npy", rows)
        for file in own.glob("*.onnx"):
            said = open_session(file).run(list(OUTPUT_NAMES), {"input": rows})
            np.savez(file.with_suffix(".npz"), **dict(zip(OUTPUT_NAMES, said, strict=True)))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("release", RELEASES)
def test_e3_every_file_runs_on_old_runtimes_and_answers_the_same(release: str, files: Path, tmp_path: Path) -> None:
    done = run([environment(tmp_path / "venv", release), "-W", "ignore", "-c", PROGRAM, files, release])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3 * len(NAMES)


def test_e3_the_oldest_release_that_is_named_is_one_of_those_run() -> None:
    assert ".".join(RELEASES[0].split(".")[:2]) == OLDEST_ONNXRUNTIME
