"""The client installs alone: no torch, no onnx, no Redis."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
from kdaif_client import errors

ROOT = Path(__file__).parents[2]

ALONE = """
import importlib.util, sys
absent = [name for name in ("torch", "onnx", "onnxruntime", "redis", "obstore", "numpy", "pandas", "kdaif",
          "kdaif_server", "kdaif_worker") if importlib.util.find_spec(name) is not None]
assert absent == [], absent
import kdaif_client
from kdaif_client import Client, errors
with Client("127.0.0.1:1") as client:
    try:
        client.get_job("x")
    except errors.Unavailable:
        pass
import pathlib, tempfile, json
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "manifest.json").write_text(json.dumps({"format_version": 1, "files": {}, "class_names": [], "outputs": [],
    "input": {"name": "input", "kind": "image", "shape": []}}))
kdaif_client.verify(folder)
try:
    kdaif_client.Student.open(folder)
except errors.MissingDependency as error:
    print(error)
"""


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_client_installs_and_works_alone(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", wheels),
        *(ROOT / "proto", ROOT / "client"),
    )
    packages = {}
    for wheel in wheels.iterdir():
        with ZipFile(wheel) as archive:
            packages[wheel.name.split("-")[0]] = {name.split("/")[0] for name in archive.namelist()}
            assert any(name.endswith("/py.typed") for name in archive.namelist())
    assert {name: {each for each in found if "dist-info" not in each} for name, found in packages.items()} == {
        "kdaif_proto": {"kdaif_proto"},
        "kdaif_client": {"kdaif_client"},
    }
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    run(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt"),
        *wheels.iterdir(),
    )
    # -I: what lies in the working directory is not what was installed.
    told = run(python, "-I", "-W", "error", "-c", ALONE)
    assert "pip install 'kdaif-client[edge]'" in told
    assert "weights" in run(tmp_path / "clean" / "bin" / "kdaif", "--help")
    up = subprocess.run([tmp_path / "clean" / "bin" / "kdaif", "up"], capture_output=True, text=True)
    assert up.returncode == 1
    assert "pip install kdaif-server kdaif-worker" in up.stderr


def test_everything_public_is_there_and_is_an_error_of_one_tree() -> None:
    import kdaif_client

    for name in kdaif_client.__all__:
        assert getattr(kdaif_client, name) is not None
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert kind is errors.FieldViolation or issubclass(kind, errors.KdaifClientError)
        assert kind.__doc__
