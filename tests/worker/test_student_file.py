"""A whole job gives the same files in another directory and process, and its bundle says what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import sys
from pathlib import Path
import torch
from kdaif_worker.messages import Assignment
from kdaif.scratch import Scratch
from kdaif.store import BlobStore
from tests.worker import large_job

torch.set_num_threads(1)
folder = Path(sys.argv[1])
given = Assignment("default", sys.argv[2], 1, "", large_job.SPEC, f"file://{folder / 'blobs'}", folder, 1)
blobs = BlobStore.open(given.blob_url)
large_job.attempt(given, large_job.data(3000, Scratch(folder)), Scratch(folder), blobs, folder / "bundle")
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundles of one job (spec, data and seed), run twice."""
    found = []
    for name in ("first", "elsewhere"):
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-c", PROGRAM, str(folder), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr
        found.append(folder / "bundle")
    return found


def read(bundle: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((bundle / name).read_text())
    return told


def test_e10_the_same_job_gives_the_same_student_in_another_directory_and_process(bundles: list[Path]) -> None:
    first, second = (read(bundle, "manifest.json") for bundle in bundles)
    assert first["job"] != second["job"]
    assert first["files"]["model.onnx"] == second["files"]["model.onnx"]
    # Whether a variant ships depends on its time as well; one that does is the same.
    for name in set(first["files"]) & set(second["files"]):
        if name.endswith(".onnx"):
            assert first["files"][name]["sha256"] == second["files"][name]["sha256"], name


def test_the_certificate_has_every_variant_and_the_manifest_those_that_ship(bundles: list[Path]) -> None:
    certificate, manifest = read(bundles[0], "certificate.json"), read(bundles[0], "manifest.json")
    variants = {variant["name"]: variant for variant in certificate["variants"]}
    assert list(variants) == ["fp32", "fp16", "int8"]
    shipped = {variant["file"] for variant in variants.values() if variant["shipped"]}
    assert {name for name in manifest["files"] if name.endswith(".onnx")} == shipped
    assert manifest["oldest_onnxruntime"] == dict.fromkeys(shipped, "1.15")
    for variant in variants.values():
        assert variant["reason"]
        assert set(variant["classes"]) == {"a", "b", "c", "d"}
        assert sum(entry["rows"] for entry in variant["classes"].values()) == 1000
        assert variant["agreement_rows"] == 1000 + 2048
        assert [entry["batch"] for entry in variant["batches"]] == [1, 2, 3, 64]
        if variant["shipped"]:
            assert manifest["files"][variant["file"]]["size_bytes"] == variant["size_bytes"]
    assert variants["fp32"]["accuracy"] == pytest.approx(
        next(
            arm["accuracy"] for arm in read(bundles[0], "report.json")["arms"] if arm["arm"] == manifest["shipped_arm"]
        )
    )
    low, high = manifest["input"]["seen"]["features"]
    assert -10 < low < -3 < 3 < high < 10
    assert manifest["versions"]["onnxruntime"] == certificate["versions"]["onnxruntime"]
    assert "Variants of the file" in (bundles[0] / "report.html").read_text()
